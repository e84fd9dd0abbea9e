"""The statements of pings, one round trip each.

Each finds the pipeline of the URL, takes its turn in the URL's pace, and writes what the ping reports. They answer with
one row: how many pipelines the URL names, how many seconds to wait if it is pinged too fast, the execution that was
written, the one that the caller's run id named before, the time when a date lies too far ahead of it, and whether the
statement does nothing, because the pipeline needs the rare one.
"""

from watcher_server.database.statements import numbered
from watcher_server.executions import statements as runs

PINGS_PER_SECOND = 5
# How many pings may come at once: five seconds' worth.
BURST = 25
# What is kept of one body, in bytes, and of all bodies of a run, in characters.
OUTPUT_BYTES = 100_000

_BY_UUID = "SELECT id, max_concurrent FROM pipeline WHERE ping_uuid = %(uuid)s::uuid AND archived_at IS NULL"
_BY_SLUG = """SELECT pipeline.id, max_concurrent FROM pipeline
    WHERE ping_slug = %(slug)s::text AND archived_at IS NULL
        AND EXISTS (SELECT FROM ping_key WHERE key_hash = %(key_hash)s::bytea)
    LIMIT 2"""

_IS_PLAUSIBLE = runs.is_plausible("greatest(%(start_date)s::timestamptz, %(end_date)s::timestamptz)")


# The pace is the generic cell rate algorithm (ITU-T I.371): one moment per URL, from which it would be free if its
# pings came evenly. The row makes pings of one URL take turns, in all api processes. A pipeline that the statement does
# not serve gets another one, and has its turn there.
def _find(by: str, serves: str) -> str:
    return f"""WITH found AS MATERIALIZED (
    {by}
), counted AS (
    INSERT INTO ping_pace AS pace (pipeline_id, free_at)
    SELECT id, now() + interval '{1 / PINGS_PER_SECOND} s' FROM found
    WHERE (SELECT count(*) FROM found) = 1 AND {serves}
    ON CONFLICT (pipeline_id) DO UPDATE
    SET free_at = greatest(pace.free_at, now()) + interval '{1 / PINGS_PER_SECOND} s'
    WHERE pace.free_at <= now() + interval '{(BURST - 1) / PINGS_PER_SECOND} s'
    RETURNING pipeline_id
), paced AS (
    SELECT pipeline_id FROM counted WHERE {_IS_PLAUSIBLE}
), known AS (
    SELECT execution_id FROM paced JOIN ping_run USING (pipeline_id) WHERE rid = %(rid)s::uuid
)
"""  # noqa: S608 - made of constants


def _answer(serves: str) -> str:
    return f"""
SELECT (SELECT count(*) FROM found),
    CASE WHEN NOT EXISTS (SELECT FROM counted) THEN (
        SELECT extract(epoch FROM free_at - now())::float8 - {(BURST - 1) / PINGS_PER_SECOND}
        FROM found JOIN ping_pace ON pipeline_id = id LIMIT 1
    ) END,
    (SELECT id FROM written),
    (SELECT execution_id FROM known),
    CASE WHEN NOT {_IS_PLAUSIBLE} THEN now() END,
    EXISTS (SELECT FROM found WHERE NOT ({serves}))
"""  # noqa: S608 - made of constants


# A caller that sends a start again, because it saw no answer, names the same run.
def _start(noted: str) -> str:
    return f"""
, started AS (
    INSERT INTO pipeline_execution
        (pipeline_id, parent_id, start_date, start_skew, date_recorded, hour_recorded, next_watermark, backfill,
        output)
    SELECT paced.pipeline_id, (SELECT id FROM pipeline_execution WHERE id = %(parent_id)s::bigint), moment.start_date,
        moment.start_skew, (moment.start_date AT TIME ZONE 'UTC')::date,
        extract(hour FROM moment.start_date AT TIME ZONE 'UTC'),
        %(watermark)s::text, %(backfill)s, %(output)s::text
    FROM paced, (
        {runs.began("coalesce(%(start_date)s::timestamptz, now())")}
    ) AS moment
    WHERE NOT EXISTS (SELECT FROM known)
    RETURNING id, pipeline_id, start_date, date_recorded, backfill
), {runs.AFTER_START}
), {noted}
), named AS (
    INSERT INTO ping_run (pipeline_id, rid, execution_id)
    SELECT pipeline_id, %(rid)s::uuid, id FROM started WHERE %(rid)s::uuid IS NOT NULL
), written AS (
    SELECT id FROM started
)
"""  # noqa: S608 - made of constants


# The run that a ping is about: the one of its run id, else the latest that is open, by ix_pipeline_execution_running.
_OPEN = """
, open_run AS (
    SELECT run.* FROM paced CROSS JOIN LATERAL (
        SELECT id, start_date, start_skew FROM pipeline_execution AS execution
        WHERE execution.pipeline_id = paced.pipeline_id AND end_date IS NULL
        ORDER BY start_date DESC, id DESC LIMIT 1
    ) AS run
    WHERE %(rid)s::uuid IS NULL
    UNION ALL
    SELECT id, start_date, start_skew FROM known JOIN pipeline_execution ON id = execution_id
    WHERE num_nonnulls(end_date) = 0 OR outcome = 'lost'
)
"""
# Without a run id and an open run, an end is that of the latest run, if that was taken for lost.
_ENDING = """
, ending AS (
    SELECT * FROM open_run
    UNION ALL
    SELECT id, start_date, start_skew FROM (
        SELECT run.* FROM paced CROSS JOIN LATERAL (
            SELECT id, start_date, start_skew, outcome FROM pipeline_execution AS execution
            WHERE execution.pipeline_id = paced.pipeline_id
            ORDER BY start_date DESC, id DESC LIMIT 1
        ) AS run
        WHERE %(rid)s::uuid IS NULL AND NOT EXISTS (SELECT FROM open_run)
    ) AS latest
    WHERE outcome = 'lost'
)
"""

# A run of which only the end is told. Both dates are of one clock: as far as the end is ahead, the start was too.
_WHOLE = """
SELECT pipeline_id, shown.start_date - ahead.by AS start_date, shown.end_date - ahead.by AS end_date,
    nullif(ahead.by, '0') AS skew,
    CASE WHEN %(start_date)s::timestamptz IS NOT NULL AND (%(end_date)s::timestamptz IS NOT NULL OR ahead.by = '0')
        THEN extract(epoch FROM shown.end_date - shown.start_date) END AS seconds
FROM paced, (SELECT
    coalesce(%(start_date)s::timestamptz, %(end_date)s::timestamptz, now()),
    greatest(coalesce(%(end_date)s::timestamptz, now()), %(start_date)s::timestamptz)
) AS shown (start_date, end_date), LATERAL (SELECT greatest(shown.end_date - now(), '0')) AS ahead (by)
""".strip()

# An end without a start is a run of which nobody knows how long it took, so no baseline learns a duration from it.
_END = f"""
{_OPEN}
{_ENDING}
, closed AS (
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
        throughput = {runs.THROUGHPUT},
        nothing_to_do = %(nothing_to_do)s,
        next_watermark = coalesce(%(watermark)s::text, next_watermark),
        execution_metadata = %(execution_metadata)s::jsonb,
        output = right(nullif(concat_ws(E'\\n', output, %(output)s::text), ''), {OUTPUT_BYTES})
    FROM (
        {runs.ENDED}
        FROM ending AS run, {runs.SHOWN}
    ) AS moment
    WHERE pipeline_execution.id = moment.id
        AND (num_nonnulls(pipeline_execution.end_date) = 0 OR outcome = 'lost')
    RETURNING pipeline_execution.id, pipeline_id, pipeline_execution.start_date, date_recorded, next_watermark,
        moment.end_date, backfill
), started AS (
    INSERT INTO pipeline_execution
        (pipeline_id, parent_id, start_date, start_skew, date_recorded, hour_recorded, end_date, end_skew,
        completed_successfully, duration_seconds, inserts, updates, soft_deletes, total_rows, throughput,
        nothing_to_do, backfill, next_watermark, execution_metadata, output)
    SELECT moment.pipeline_id, (SELECT id FROM pipeline_execution WHERE id = %(parent_id)s::bigint),
        moment.start_date, moment.skew, (moment.start_date AT TIME ZONE 'UTC')::date,
        extract(hour FROM moment.start_date AT TIME ZONE 'UTC'), moment.end_date, moment.skew,
        %(completed_successfully)s, round(moment.seconds), %(inserts)s::bigint, %(updates)s::bigint,
        %(soft_deletes)s::bigint, %(total_rows)s::bigint, {runs.THROUGHPUT}, %(nothing_to_do)s, %(backfill)s,
        %(watermark)s::text, %(execution_metadata)s::jsonb, %(output)s::text
    FROM (
        {_WHOLE}
    ) AS moment
    WHERE NOT EXISTS (SELECT FROM ending) AND NOT EXISTS (SELECT FROM known)
    RETURNING id, pipeline_id, start_date, date_recorded, next_watermark, end_date, backfill
), ended AS (
    SELECT * FROM closed UNION ALL SELECT * FROM started
), {runs.AFTER_START}
), {runs.AFTER_END}
), {runs.NOTED_END}
), named AS (
    INSERT INTO ping_run (pipeline_id, rid, execution_id)
    SELECT pipeline_id, %(rid)s::uuid, id FROM started WHERE %(rid)s::uuid IS NOT NULL
), written AS (
    SELECT id FROM ended
)
"""  # noqa: S608 - made of constants

# Of a run that is over too, and of none before the first: a line more or less never fails a script.
_LOG = f"""
{_OPEN}
, latest AS (
    SELECT id FROM open_run
    UNION ALL
    (SELECT run.id FROM paced CROSS JOIN LATERAL (
        SELECT id FROM pipeline_execution AS execution
        WHERE execution.pipeline_id = paced.pipeline_id
        ORDER BY start_date DESC, id DESC LIMIT 1
    ) AS run WHERE %(rid)s::uuid IS NULL AND NOT EXISTS (SELECT FROM open_run))
    UNION ALL
    SELECT execution_id FROM known WHERE NOT EXISTS (SELECT FROM open_run)
), written AS (
    UPDATE pipeline_execution
    SET output = right(nullif(concat_ws(E'\\n', output, %(output)s::text), ''), {OUTPUT_BYTES}), heard_at = now()
    FROM latest WHERE pipeline_execution.id = latest.id
    RETURNING pipeline_execution.id
)
"""  # noqa: S608 - made of constants

# The pipeline of a URL that names none but one in the archive.
_REVIVE = """
WITH found AS MATERIALIZED (
    {archived}
), started AS (
    SELECT id AS pipeline_id FROM found WHERE (SELECT count(*) FROM found) = 1
), {revived}
)
SELECT count(*) FROM revived
"""

_PLACES = {"uuid": _BY_UUID, "slug": _BY_SLUG}
_REPORTS = {
    # In the rare start a new run may end the one before. To be ready for that costs half as much again, so only
    # pipelines that ask for it get it.
    "start": ("max_concurrent IS DISTINCT FROM 1", _start(runs.NOTED_START)),
    "rare start": ("true", _start(runs.REPLACED_AND_NOTED)),
    "end": ("true", _END),
    "log": ("true", _LOG),
}

# By how the URL names the pipeline, and what the ping reports.
STATEMENTS = {
    (place, report): numbered(f"{_find(by, serves)}{written}{_answer(serves)}")
    for place, by in _PLACES.items()
    for report, (serves, written) in _REPORTS.items()
}

# By how the URL names the pipeline.
REVIVALS = {
    place: _REVIVE.format(
        archived=by.replace("archived_at IS NULL", "archived_at IS NOT NULL AND forgotten_at IS NULL"),
        revived=runs.REVIVED,
    )
    for place, by in _PLACES.items()
}
