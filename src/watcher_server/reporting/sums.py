"""Summing days that are over, once, so that a report need not.

A report takes the figures of a day from ``daily_pipeline_metric`` when the day is before ``summed_before`` and the
pipeline has no row for it in ``daily_pipeline_metric_change``; all others it computes from the executions. Three things
keep that exact at every moment:

- Whoever writes a run of a day that is over notes the change in the same statement. A day is summed an hour after it
  ended, and after every transaction has ended that may have begun to write before (:func:`find_writers`).
- Sums and what they replace become visible together: a transaction for a day, or for some changes.
- A note is taken away before its figures are read. A run that had touched it is then over, and counts; one that
  touches it later waits for the transaction, and notes the change anew.
"""

from collections.abc import Collection
from datetime import date

from sqlalchemy import Connection, text

from watcher_server.database.locks import DAILY_METRICS_LOCK
from watcher_server.reporting.figures import FIGURE_COLUMNS, FIGURES
from watcher_server.reporting.schemas import LONGEST_DAYS

# A day is summed an hour after it ended: its last runs have been reported by then, so fewer changes are noted, and
# clocks that are set right by less do no harm. Should the clock have been set back by more, days after it are summed
# again when they are over. Days before any report are not summed: those of a database that has just been migrated, or
# was without workers for long. The row is there from the migration on, unless somebody emptied the table.
_WATCH = text("""
INSERT INTO daily_pipeline_metric_progress AS progress (watched_before, summed_before)
SELECT past, past - :shown_days FROM (SELECT ((now() - interval '1 hour') AT TIME ZONE 'UTC')::date) AS clock (past)
ON CONFLICT ("only") DO UPDATE SET
    watched_before = excluded.watched_before,
    summed_before = least(excluded.watched_before, greatest(progress.summed_before, excluded.summed_before))
RETURNING summed_before < watched_before
""")

# A statement locks its tables before it takes its snapshot, so whoever holds none of these locks now is over, or will
# read the clock and the changes as they are now.
_FIND_WRITERS = text("""
SELECT DISTINCT virtualtransaction FROM pg_locks
WHERE locktype = 'relation' AND relation = 'pipeline_execution'::regclass AND mode = 'RowExclusiveLock'
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (CAST(:among AS text[]) IS NULL OR virtualtransaction = ANY(:among))
""")

# A statement of its own: what is read under the lock must be no older than the lock.
_LOCK = text("SELECT pg_advisory_xact_lock(:lock)")

_NEXT_DAY = text("SELECT summed_before FROM daily_pipeline_metric_progress WHERE summed_before < watched_before")
_EMPTY_DAY = text("DELETE FROM daily_pipeline_metric WHERE date_recorded = :day")
_CLOSE_DAY = text("UPDATE daily_pipeline_metric_progress SET summed_before = CAST(:day AS date) + 1")

# By ix_pipeline_execution_start_date.
_SUM_DAY = """
INSERT INTO daily_pipeline_metric (date_recorded, pipeline_id, {columns})
SELECT CAST(:day AS date), pipeline_id, {figures}
FROM pipeline_execution
WHERE start_date >= CAST(:day AS timestamp) AT TIME ZONE 'UTC'
    AND start_date < (CAST(:day AS timestamp) + interval '1 day') AT TIME ZONE 'UTC'
GROUP BY pipeline_id
"""

# The newest first: a page is likelier to show them.
_TAKE_CHANGES = text("""
WITH next AS (
    SELECT date_recorded, pipeline_id FROM daily_pipeline_metric_change
    WHERE date_recorded < (SELECT summed_before FROM daily_pipeline_metric_progress)
    ORDER BY date_recorded DESC, pipeline_id DESC LIMIT :most
)
DELETE FROM daily_pipeline_metric_change AS change USING next
WHERE change.date_recorded = next.date_recorded AND change.pipeline_id = next.pipeline_id
RETURNING change.date_recorded, change.pipeline_id
""")

_EMPTY_PAIRS = text("""
DELETE FROM daily_pipeline_metric AS metric
USING unnest(CAST(:days AS date[]), CAST(:pipelines AS bigint[])) AS pair (day, pipeline_id)
WHERE metric.date_recorded = pair.day AND metric.pipeline_id = pair.pipeline_id
""")

# By ix_pipeline_execution_pipeline_id_start_date, one seek for each pair.
_SUM_PAIRS = """
INSERT INTO daily_pipeline_metric (date_recorded, pipeline_id, {columns})
SELECT pair.day, pair.pipeline_id, summed.*
FROM unnest(CAST(:days AS date[]), CAST(:pipelines AS bigint[])) AS pair (day, pipeline_id)
CROSS JOIN LATERAL (
    SELECT {figures}
    FROM pipeline_execution AS execution
    WHERE execution.pipeline_id = pair.pipeline_id
        AND start_date >= pair.day::timestamp AT TIME ZONE 'UTC'
        AND start_date < (pair.day + 1)::timestamp AT TIME ZONE 'UTC'
    GROUP BY execution.pipeline_id
) AS summed
"""

_SUM_DAY_TEXT = text(_SUM_DAY.format(columns=FIGURE_COLUMNS, figures=FIGURES))
_SUM_PAIRS_TEXT = text(_SUM_PAIRS.format(columns=FIGURE_COLUMNS, figures=FIGURES))


def watch_past_days(connection: Connection) -> bool:
    """Move on to the days that are over by now; whether one of them is left to be summed."""
    return bool(connection.scalar(_WATCH, {"shown_days": LONGEST_DAYS + 1}))


def find_writers(connection: Connection, among: Collection[str] | None = None) -> list[str]:
    """The transactions that are writing executions now; with ``among``, those of them that still are."""
    found = connection.scalars(_FIND_WRITERS, {"among": None if among is None else list(among)})
    return list(found)


def sum_next_day(connection: Connection) -> date | None:
    """Sum the earliest day that is watched and not summed; None when there is none. Of two at once, one waits.

    Every writer that :func:`find_writers` found after :func:`watch_past_days` had committed must be over.
    """
    connection.execute(_LOCK, {"lock": DAILY_METRICS_LOCK})
    day: date | None = connection.scalar(_NEXT_DAY)
    if day is not None:
        for statement in (_EMPTY_DAY, _SUM_DAY_TEXT, _CLOSE_DAY):
            connection.execute(statement, {"day": day})
    return day


def sum_changes(connection: Connection, most: int) -> int:
    """Sum up to so many changed days of pipelines again; how many. Of two at once, one waits.

    A run of such a day waits until the transaction is over, so ``most`` is to be small.
    """
    connection.execute(_LOCK, {"lock": DAILY_METRICS_LOCK})
    # Statements of their own, each with a snapshot of its own: what they read must be no older than the notes' removal.
    pairs = connection.execute(_TAKE_CHANGES, {"most": most}).all()
    if pairs:
        parameters = {"days": [pair.date_recorded for pair in pairs], "pipelines": [pair.pipeline_id for pair in pairs]}
        connection.execute(_EMPTY_PAIRS, parameters)
        connection.execute(_SUM_PAIRS_TEXT, parameters)
    return len(pairs)
