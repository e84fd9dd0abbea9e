"""Summing the figures of past days once, so that reports need not.

A report takes the figures of a day from ``daily_pipeline_metric`` when the day is before ``summed_before`` and the
pipeline has no row for it in ``daily_pipeline_metric_change``; all others it computes from the executions. Three things
keep that exact at every moment:

- The statement that writes a run of a past day also notes the change. A day is summed an hour after it ended, and once
  every transaction has ended that may have begun to write before midnight (:func:`find_writers`).
- One transaction sums a day, or some changes, so old and new sums are never mixed.
- A note is deleted before its figures are read. A run that locked the note before has committed and counts. A run that
  locks it later waits for the transaction and notes the change again.
"""

from collections.abc import Collection
from datetime import date

from sqlalchemy import Connection, text

from watcher_server.database.locks import DAILY_METRICS_LOCK
from watcher_server.reporting.schemas import LONGEST_DAYS
from watcher_server.reporting.statements import FIGURE_COLUMNS, FIGURES

# By ix_pipeline_execution_start_date.
_SUM_DAY = text(f"""
INSERT INTO daily_pipeline_metric (date_recorded, pipeline_id, {FIGURE_COLUMNS})
SELECT CAST(:day AS date), pipeline_id, {FIGURES}
FROM pipeline_execution
WHERE start_date >= CAST(:day AS timestamp) AT TIME ZONE 'UTC'
    AND start_date < (CAST(:day AS timestamp) + interval '1 day') AT TIME ZONE 'UTC'
GROUP BY pipeline_id
""")  # noqa: S608 - names of columns, which are code

_EMPTY_PAIRS = text("""
DELETE FROM daily_pipeline_metric AS metric
USING unnest(CAST(:days AS date[]), CAST(:pipelines AS bigint[])) AS pair (day, pipeline_id)
WHERE metric.date_recorded = pair.day AND metric.pipeline_id = pair.pipeline_id
""")

# By ix_pipeline_execution_pipeline_id_start_date, one seek for each pair.
_SUM_PAIRS = text(f"""
INSERT INTO daily_pipeline_metric (date_recorded, pipeline_id, {FIGURE_COLUMNS})
SELECT pair.day, pair.pipeline_id, summed.*
FROM unnest(CAST(:days AS date[]), CAST(:pipelines AS bigint[])) AS pair (day, pipeline_id)
CROSS JOIN LATERAL (
    SELECT {FIGURES}
    FROM pipeline_execution AS execution
    WHERE execution.pipeline_id = pair.pipeline_id
        AND start_date >= pair.day::timestamp AT TIME ZONE 'UTC'
        AND start_date < (pair.day + 1)::timestamp AT TIME ZONE 'UTC'
    GROUP BY execution.pipeline_id
) AS summed
""")  # noqa: S608 - as above


def watch_past_days(connection: Connection) -> bool:
    """Note which days are over by now; whether one of them is not summed yet."""
    # A day is summed an hour after it ended. By then its last runs have been reported, so fewer changes are noted, and
    # a clock may be set back by up to an hour. After a larger step back, the days after the new time are summed again
    # when they are over. Days that are further back are not summed, for example after a migration or a long time
    # without workers. The migration inserts the row; this statement inserts it again if the table was emptied.
    statement = text("""
        INSERT INTO daily_pipeline_metric_progress AS progress (watched_before, summed_before, summed_since)
        SELECT past, past - :shown_days, past - :shown_days
        FROM (SELECT ((now() - interval '1 hour') AT TIME ZONE 'UTC')::date) AS clock (past)
        ON CONFLICT ("only") DO UPDATE SET
            watched_before = excluded.watched_before,
            summed_before = least(excluded.watched_before, greatest(progress.summed_before, excluded.summed_before)),
            summed_since = CASE WHEN progress.summed_since IS NULL OR excluded.summed_before > progress.summed_before
                THEN excluded.summed_since ELSE progress.summed_since END
        RETURNING summed_before < watched_before
    """)
    return bool(connection.scalar(statement, {"shown_days": LONGEST_DAYS + 1}))


def find_writers(connection: Connection, among: Collection[str] | None = None) -> list[str]:
    """The transactions that write executions now; with ``among``, only those of these that still do."""
    # A statement locks its tables before it takes its snapshot. So a transaction without such a lock has ended, or its
    # next statement will read the clock and the changes as they are now.
    statement = text("""
        SELECT DISTINCT virtualtransaction FROM pg_locks
        WHERE locktype = 'relation' AND relation = 'pipeline_execution'::regclass AND mode = 'RowExclusiveLock'
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND (CAST(:among AS text[]) IS NULL OR virtualtransaction = ANY(:among))
    """)
    return list(connection.scalars(statement, {"among": None if among is None else list(among)}))


def _take_turn(connection: Connection) -> None:
    # A separate statement, so that the next one takes its snapshot after the lock.
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": DAILY_METRICS_LOCK})


def sum_next_day(connection: Connection) -> date | None:
    """Sum the earliest day that is watched and not summed; None when there is none. Concurrent calls take turns.

    Every writer that :func:`find_writers` found after :func:`watch_past_days` had committed must be over.
    """
    _take_turn(connection)
    day: date | None = connection.scalar(
        text("SELECT summed_before FROM daily_pipeline_metric_progress WHERE summed_before < watched_before")
    )
    if day is not None:
        connection.execute(text("DELETE FROM daily_pipeline_metric WHERE date_recorded = :day"), {"day": day})
        connection.execute(_SUM_DAY, {"day": day})
        close = text("UPDATE daily_pipeline_metric_progress SET summed_before = CAST(:day AS date) + 1")
        connection.execute(close, {"day": day})
    return day


def sum_changes(connection: Connection, most: int) -> int:
    """Sum at most this number of changed days of pipelines again; how many. Concurrent calls take turns.

    A run of such a day waits until the transaction ends, so ``most`` should be small.
    """
    _take_turn(connection)
    # Separate statements, so that each takes its snapshot after the notes were deleted.
    # The newest first, because a page is likelier to show them.
    statement = text("""
        WITH next AS (
            SELECT date_recorded, pipeline_id FROM daily_pipeline_metric_change
            WHERE date_recorded < (SELECT summed_before FROM daily_pipeline_metric_progress)
            ORDER BY date_recorded DESC, pipeline_id DESC LIMIT :most
        )
        DELETE FROM daily_pipeline_metric_change AS change USING next
        WHERE change.date_recorded = next.date_recorded AND change.pipeline_id = next.pipeline_id
        RETURNING change.date_recorded, change.pipeline_id
    """)
    pairs = connection.execute(statement, {"most": most}).all()
    if pairs:
        parameters = {"days": [pair.date_recorded for pair in pairs], "pipelines": [pair.pipeline_id for pair in pairs]}
        connection.execute(_EMPTY_PAIRS, parameters)
        connection.execute(_SUM_PAIRS, parameters)
    return len(pairs)
