"""The statements that start and end an execution, and the pieces of them that pings use too.

Two come in two kinds. The usual one serves nearly every run; the rare one also copes with what costs each run a few
percent of the database's time to be ready for: a day that is over, a key of the caller, a run that was lost, a pipeline
whose new run ends the one before or that comes back from the archive. The usual one finds no run in such a case, and
ingest then sends the other.
"""

from watcher_server.executions.clocks import MOST_AHEAD

# Figures of a past day are summed, or are being summed, so a run that began then leaves a note of its day and pipeline.
# The day is the database's: it is summed an hour after its end, when no statement that began before midnight still
# runs.
#
# Where the note stands already, DO UPDATE locks its row and WHERE false leaves it as it is: the daily sum and the
# statement lock the same row, so one of them waits.
_IS_OVER = "start_date < date_trunc('day', now(), 'UTC')"


def _note(runs: str) -> str:
    return f"""
    INSERT INTO daily_pipeline_metric_change AS change (date_recorded, pipeline_id)
    SELECT date_recorded, pipeline_id FROM {runs}
    ON CONFLICT (date_recorded, pipeline_id) DO UPDATE SET pipeline_id = change.pipeline_id WHERE false
""".strip()  # noqa: S608 - made of constants


def is_plausible(date: str) -> str:
    """That a date, if there is one, is not too far ahead."""
    return f"({date} <= now() + interval '{MOST_AHEAD.days} day') IS NOT FALSE"


# No run counts from the future on: it began when its report arrived, and how far ahead its clock was is kept.
def began(sent: str) -> str:
    """Where a run counts from that says it began then, and how far ahead that was: a start date and a skew."""
    return f"""SELECT least({sent}, now()) AS start_date,
        CASE WHEN {sent} > now() THEN {sent} - now() END AS start_skew"""


# When the ``run`` (start_date, start_skew) ended, how far ahead that was, and how many seconds it took, to the
# microsecond. An end never lies before the start as it was sent. Two dates that are ahead are of one clock, so their
# difference is right. An end that says no date, before a start that lies ahead, has no duration: two clocks measured
# it.
ENDED = """SELECT run.*, greatest(least(shown.at, now()), run.start_date) AS end_date,
        CASE WHEN shown.at > now() THEN shown.at - now() END AS end_skew,
        extract(epoch FROM CASE
            WHEN shown.at <= now() OR run.start_skew IS NULL
            THEN greatest(least(shown.at, now()), run.start_date) - run.start_date
            WHEN %(end_date)s::timestamptz IS NOT NULL THEN shown.at - run.start_date - run.start_skew
        END) AS seconds""".strip()
SHOWN = """LATERAL (
        SELECT greatest(coalesce(%(end_date)s::timestamptz, now()), run.start_date + coalesce(run.start_skew, '0'))
    ) AS shown (at)"""
THROUGHPUT = """CASE WHEN moment.seconds = 0 AND %(total_rows)s::bigint IS NOT NULL THEN 0
            ELSE round(%(total_rows)s::numeric / nullif(moment.seconds, 0), 4) END"""

# What follows a run that ``started`` or ``ended``.
#
# A root is its own closure. What lies above a child is written by the task, which also copes with a late parent.
AFTER_START = """
closure AS (
    INSERT INTO pipeline_execution_closure (parent_execution_id, child_execution_id, depth)
    SELECT id, id, 0 FROM started
), placed AS (
    INSERT INTO outbox (task_name, kwargs, context)
    SELECT 'pipeline_execution_closure_maintain_task',
        jsonb_build_object('execution_id', id, 'parent_id', %(parent_id)s::bigint), %(context)s::jsonb
    FROM started WHERE %(parent_id)s::bigint IS NOT NULL
""".strip()
# A pipeline that reports again leaves the archive.
REVIVED = """
revived AS (
    UPDATE pipeline SET archived_at = NULL FROM started
    WHERE pipeline.id = started.pipeline_id AND archived_at IS NOT NULL
    RETURNING pipeline.id
), revival AS (
    INSERT INTO outbox (task_name, queue, kwargs)
    SELECT 'revive_task', 'scheduled',
        jsonb_build_object('pipeline_ids', jsonb_build_array(id), 'address_ids', jsonb_build_array())
    FROM revived
""".strip()
# A pipeline that has at most one run at a time starts another: the one before is over, though nobody said so. The last
# sign of its life is its start, or that of a run below it. Open runs by ix_pipeline_execution_running.
REPLACED_AND_NOTED = f"""
replaced AS (
    UPDATE pipeline_execution AS earlier SET
        end_date = greatest(earlier.start_date, earlier.heard_at, (
            SELECT max(coalesce(child.end_date, child.start_date)) FROM pipeline_execution AS child
            WHERE child.parent_id = earlier.id
        )),
        completed_successfully = false,
        outcome = 'lost'
    FROM started JOIN pipeline ON pipeline.id = started.pipeline_id
    WHERE pipeline.max_concurrent = 1 AND NOT started.backfill
        AND earlier.pipeline_id = started.pipeline_id AND earlier.end_date IS NULL AND NOT earlier.backfill
        AND earlier.start_date <= started.start_date
    RETURNING earlier.pipeline_id, earlier.start_date, earlier.date_recorded
), past_days AS (
    SELECT date_recorded, pipeline_id FROM started WHERE {_IS_OVER}
    UNION SELECT date_recorded, pipeline_id FROM replaced WHERE {_IS_OVER} ORDER BY date_recorded, pipeline_id
), noted AS (
    {_note("past_days")}
""".strip()  # noqa: S608 - made of constants
# A watermark that neither the run nor the pipeline names stays as it was, and so does one that a later run has set:
# overlapping runs end in any order. A late report of an old run does not turn the last write back either, and one that
# loads the past moves nothing. A date in the future, from before the clock was set back, does not stay for ever.
_STAYS = """ended.backfill OR (watermark_start_date > ended.start_date AND watermark_start_date <= now())
            OR (pipeline.monotonic_watermark AND watcher_watermark_is_lower(
                coalesce(ended.next_watermark, pipeline.next_watermark), pipeline.watermark))"""


def _last_write(kind: str, count: str) -> str:
    column = f"last_target_{kind}"
    return f"""{column} = CASE WHEN %({count})s::bigint > 0 AND NOT ended.backfill
            THEN greatest(ended.end_date, CASE WHEN {column} <= now() THEN {column} END)
            ELSE {column} END"""


# A success is judged by the active rules of its pipeline (uq_anomaly_detection_rule_pipeline_id). Where there is none,
# no task is queued. LIMIT, because for EXISTS the planner might read all rules.
AFTER_END = f"""
moved AS (
    UPDATE pipeline SET
        watermark = CASE WHEN {_STAYS} THEN pipeline.watermark
            ELSE coalesce(ended.next_watermark, pipeline.next_watermark, pipeline.watermark) END,
        watermark_start_date = CASE WHEN coalesce(ended.next_watermark, pipeline.next_watermark) IS NULL
                OR {_STAYS} THEN watermark_start_date
            ELSE ended.start_date END,
        {_last_write("insert", "inserts")},
        {_last_write("update", "updates")},
        {_last_write("soft_delete", "soft_deletes")},
        load_lineage = false
    FROM ended
    WHERE pipeline.id = ended.pipeline_id AND %(completed_successfully)s
), queued AS (
    INSERT INTO outbox (task_name, queue, kwargs, context)
    SELECT CASE WHEN %(completed_successfully)s THEN 'detect_anomalies_task' ELSE 'judge_failure_task' END,
        CASE WHEN %(completed_successfully)s THEN 'celery' ELSE 'scheduled' END,
        jsonb_build_object('pipeline_id', pipeline_id, 'pipeline_execution_id', id), %(context)s::jsonb
    FROM ended WHERE NOT %(completed_successfully)s OR (
        SELECT true FROM anomaly_detection_rule AS rule
        WHERE rule.pipeline_id = ended.pipeline_id AND rule.active LIMIT 1
    )
    RETURNING id
""".strip()  # noqa: S608 - made of constants
NOTED_START = f"""
noted AS (
    {_note(f"started WHERE {_IS_OVER}")}
""".strip()
NOTED_END = f"""
noted AS (
    {_note(f"ended WHERE {_IS_OVER}")}
""".strip()

_OF_TODAY = "start_date >= date_trunc('day', now(), 'UTC')"


def _started(condition: str) -> str:
    return f"""started AS (
    INSERT INTO pipeline_execution
        (pipeline_id, parent_id, start_date, start_skew, date_recorded, hour_recorded, watermark, next_watermark,
        backfill)
    SELECT pipeline.id, %(parent_id)s::bigint, moment.start_date, moment.start_skew,
        (moment.start_date AT TIME ZONE 'UTC')::date,
        extract(hour FROM moment.start_date AT TIME ZONE 'UTC'),
        %(watermark)s::text, %(next_watermark)s::text, %(backfill)s
    FROM pipeline, (
        {began("coalesce(%(start_date)s::timestamptz, now())")}
    ) AS moment
    WHERE pipeline.id = %(pipeline_id)s AND {is_plausible("%(start_date)s::timestamptz")}
        AND (%(parent_id)s::bigint IS NULL
            OR EXISTS (SELECT FROM pipeline_execution WHERE id = %(parent_id)s::bigint))
        AND {condition}
    RETURNING id, pipeline_id, start_date, date_recorded, backfill
)"""  # noqa: S608 - made of constants


_IS_USUAL = f"moment.{_OF_TODAY} AND pipeline.max_concurrent IS DISTINCT FROM 1 AND pipeline.archived_at IS NULL"

START_STATEMENT = f"""
WITH {_started(_IS_USUAL)}, {AFTER_START}
)
SELECT id FROM started
"""  # noqa: S608 - made of constants

# Of two at once with one key, the second fails at the key's index.
START_RARE_STATEMENT = f"""
WITH known AS (
    SELECT fingerprint, answer FROM idempotency_key
    WHERE caller = %(caller)s::bigint AND key = %(key)s::text AND created_at > now() - interval '24 hours'
), {_started("NOT EXISTS (SELECT FROM known) AND pipeline.forgotten_at IS NULL")}, {AFTER_START}
), {REPLACED_AND_NOTED}
), {REVIVED}
), claimed AS (
    INSERT INTO idempotency_key (caller, key, fingerprint, status, answer)
    SELECT %(caller)s::bigint, %(key)s::text, %(fingerprint)s::bytea, 201,
        convert_to('{{"id":' || id || '}}', 'UTF8')
    FROM started WHERE %(key)s::text IS NOT NULL
)
SELECT id, NULL::bytea, NULL::bytea FROM started UNION ALL SELECT NULL, fingerprint, answer FROM known
"""  # noqa: S608 - made of constants

# Why a start was refused: no such pipeline, else the database's clock when the date lies too far ahead of it.
REFUSED_START = f"""
SELECT CASE WHEN NOT {is_plausible("%(start_date)s::timestamptz")} THEN now() END
FROM pipeline WHERE id = %(pipeline_id)s AND forgotten_at IS NULL
"""  # noqa: S608 - made of constants


def _ended(condition: str, is_open: str) -> str:
    return f"""ended AS (
    UPDATE pipeline_execution SET
        end_date = moment.end_date,
        end_skew = moment.end_skew,
        completed_successfully = %(completed_successfully)s,
        outcome = NULL,
        duration_seconds = round(moment.seconds),
        inserts = %(inserts)s::bigint,
        updates = %(updates)s::bigint,
        soft_deletes = %(soft_deletes)s::bigint,
        total_rows = %(total_rows)s::bigint,
        throughput = {THROUGHPUT},
        nothing_to_do = %(nothing_to_do)s,
        execution_metadata = %(execution_metadata)s::jsonb
    FROM (
        {ENDED}
        FROM (
            SELECT id, start_date, start_skew FROM pipeline_execution
            WHERE id = %(id)s AND {is_plausible("%(end_date)s::timestamptz")}{condition}
        ) AS run, {SHOWN}
        WHERE (%(end_date)s::timestamptz > run.start_date + coalesce(run.start_skew, '0')) IS NOT FALSE
    ) AS moment
    WHERE pipeline_execution.id = moment.id AND {is_open}
    RETURNING pipeline_execution.id, pipeline_id, pipeline_execution.start_date, date_recorded, next_watermark,
        moment.end_date, backfill
)"""  # noqa: S608 - made of constants


# Only a running execution matches, so a second end changes nothing: two at once wait for each other on the row.
# num_nonnulls, because IS NULL would let the planner choose the index of running executions and read all that run.
_RUNS = "num_nonnulls(pipeline_execution.end_date) = 0"
# The late end of a run that was taken for lost repairs it.
_RUNS_OR_LOST = f"({_RUNS} OR outcome = 'lost')"

END_STATEMENT = f"""
WITH {_ended(f" AND {_OF_TODAY}", _RUNS)}, {AFTER_END}
)
SELECT EXISTS (SELECT FROM queued) FROM ended
"""  # noqa: S608 - made of constants

END_RARE_STATEMENT = f"""
WITH {_ended("", _RUNS_OR_LOST)}, {AFTER_END}
), {NOTED_END}
)
SELECT EXISTS (SELECT FROM queued) FROM ended
"""  # noqa: S608 - made of constants

# An end without a date got one from the server, so a repeat of it is compared by the other values. An execution that
# still runs was refused because its end does not come after its start, also when its start has passed meanwhile.
STORED_END = f"""
SELECT CASE WHEN NOT {is_plausible("%(end_date)s::timestamptz")} THEN now() END AS too_far,
    end_date IS NOT NULL AND outcome IS DISTINCT FROM 'lost'
        AND (%(end_date)s::timestamptz > start_date + coalesce(start_skew, '0')) IS NOT FALSE AS ordered,
    (end_date + coalesce(end_skew, '0') = coalesce(%(end_date)s::timestamptz, end_date + coalesce(end_skew, '0'))
        AND (completed_successfully, nothing_to_do) = (%(completed_successfully)s, %(nothing_to_do)s)
        AND (inserts, updates, soft_deletes, total_rows) IS NOT DISTINCT FROM
            (%(inserts)s::bigint, %(updates)s::bigint, %(soft_deletes)s::bigint, %(total_rows)s::bigint)
        AND execution_metadata IS NOT DISTINCT FROM %(execution_metadata)s::jsonb) AS repeated
FROM pipeline_execution WHERE id = %(id)s
"""  # noqa: S608 - made of constants
