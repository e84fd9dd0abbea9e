"""Runs of which nobody says that they have ended: those that are silent for too long, and those that pile up."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy import Connection, text

# How many runs of a pipeline may be open at once; without a limit of its own ten are too many.
MOST_OPEN: Final = "coalesce(pipeline.max_concurrent, 9)"

# So many are ended at a time: after an upgrade there may be years of them.
_MOST_AT_ONCE = 1_000

# What is usual is the median of so many successful runs at most, and known from so many on, among so many of the
# latest.
_USUAL_OF, _USUAL_FROM, _LOOKED_THROUGH = 20, 3, 200


class Silent(NamedTuple):
    """A run that is open, and when it was heard last (UTC)."""

    id: int
    heard_at: datetime


# What is open by ix_pipeline_execution_running, which is little. What is usual is looked for only of pipelines that
# have had a run open for an hour, by ix_pipeline_execution_pipeline_id_start_date. A stream is to go on for ever. A run
# whose child is open waits for that; a child that begins or ends is a sign of life (ix_pipeline_execution_parent_id). A
# backfill may begin long ago and load for as long as it likes. Numbers are cut to what an interval holds.
_SILENT = f"""
WITH patient AS MATERIALIZED (
    SELECT pipeline.id, threshold.timeliness_number AS number, threshold.timeliness_datepart AS datepart,
        pipeline.lost_after_hours IS NOT NULL AS is_own,
        make_interval(
            secs => 3600 * least(1e6, coalesce(pipeline.lost_after_hours, usual.patience, :lost_after_hours))
        ) AS silence
    FROM (
        SELECT pipeline_id, min(start_date) AS oldest FROM pipeline_execution
        WHERE end_date IS NULL AND NOT backfill GROUP BY pipeline_id
    ) AS going
    JOIN pipeline ON pipeline.id = going.pipeline_id
    JOIN pipeline_effective AS threshold ON threshold.id = pipeline.id
    LEFT JOIN LATERAL (
        SELECT greatest(1, percentile_cont(0.5) WITHIN GROUP (ORDER BY duration_seconds) * 3 / 3600) AS patience
        FROM (
            SELECT duration_seconds
            FROM (
                SELECT * FROM pipeline_execution AS execution WHERE execution.pipeline_id = pipeline.id
                ORDER BY execution.start_date DESC LIMIT {_LOOKED_THROUGH}
            ) AS latest
            WHERE completed_successfully AND NOT backfill AND duration_seconds IS NOT NULL
            ORDER BY start_date DESC LIMIT {_USUAL_OF}
        ) AS successful
        HAVING count(*) >= {_USUAL_FROM}
    ) AS usual ON pipeline.lost_after_hours IS NULL
    WHERE pipeline.lost_after_hours IS NOT NULL
        OR oldest < now() - make_interval(secs => 3600 * least(1, CAST(:lost_after_hours AS float)))
)
SELECT run.id, least(heard.at, now()) AS heard_at
FROM patient
JOIN pipeline_execution AS run ON run.pipeline_id = patient.id AND run.end_date IS NULL AND NOT run.backfill
    AND run.start_date < now() - silence AND run.execution_metadata #> '{{openlineage,streaming}}' IS NULL
CROSS JOIN LATERAL (
    SELECT greatest(run.start_date, run.heard_at, max(greatest(child.start_date, child.end_date))),
        coalesce(bool_or(child.end_date IS NULL), false)
    FROM pipeline_execution AS child WHERE child.parent_id = run.id
) AS heard (at, waits)
WHERE heard.at < now() - silence AND NOT heard.waits
    AND (is_own OR number IS NULL OR watcher_deadline(run.start_date, number, datepart) < now())
ORDER BY run.id LIMIT {_MOST_AT_ONCE}
"""  # noqa: S608 - of constants


def find_silent(connection: Connection, lost_after_hours: float) -> Sequence[Silent]:
    """Open runs that have been silent for longer than their pipeline allows, some of them, by id.

    That is the pipeline's ``lost_after_hours``; without it three times what its runs usually take, an hour at least;
    and where it has no history ``lost_after_hours``. One that is within its timeliness threshold is not among them,
    unless the pipeline's own ``lost_after_hours`` says so.
    """
    rows = connection.execute(text(_SILENT), {"lost_after_hours": lost_after_hours})
    return [Silent._make(row) for row in rows]


class LostRun(NamedTuple):
    """A run that was ended as lost when it was heard last (UTC)."""

    id: int
    pipeline_id: int
    start_date: datetime
    heard_at: datetime


# In the order of ids, as everywhere that locks several runs. The note has the figures of a past day summed again, as in
# executions/ingest.py. Nobody knows how long it took.
_END = """
WITH silent AS MATERIALIZED (
    SELECT execution.id, found.heard_at
    FROM unnest(CAST(:ids AS bigint[]), CAST(:heard_at AS timestamptz[])) AS found (id, heard_at)
    JOIN pipeline_execution AS execution ON execution.id = found.id
    WHERE num_nonnulls(execution.end_date) = 0
    ORDER BY execution.id FOR UPDATE OF execution SKIP LOCKED
), lost AS (
    UPDATE pipeline_execution AS run
    SET end_date = silent.heard_at, completed_successfully = false, outcome = 'lost'
    FROM silent WHERE run.id = silent.id
    RETURNING run.id, run.pipeline_id, run.start_date, run.end_date, run.date_recorded
), noted AS (
    INSERT INTO daily_pipeline_metric_change AS change (date_recorded, pipeline_id)
    SELECT DISTINCT date_recorded, pipeline_id FROM lost WHERE start_date < date_trunc('day', now(), 'UTC')
    ORDER BY date_recorded, pipeline_id
    ON CONFLICT (date_recorded, pipeline_id) DO UPDATE SET pipeline_id = change.pipeline_id WHERE false
)
SELECT id, pipeline_id, start_date, end_date FROM lost ORDER BY id
"""


def end_as_lost(connection: Connection, silent: Sequence[Silent]) -> Sequence[LostRun]:
    """End those of these runs that are still open, as lost; those that were."""
    parameters = {"ids": [run.id for run in silent], "heard_at": [run.heard_at for run in silent]}
    return [LostRun._make(row) for row in connection.execute(text(_END), parameters)]


class Crowd(NamedTuple):
    """A pipeline that has more runs open than it may.

    ``runs`` are open now, of which ``most`` may be, None without a limit of its own; ``since`` (UTC) the one began that
    was too many. ``execution_id`` began last.
    """

    pipeline_id: int
    name: str
    runs: int
    most: int | None
    since: datetime
    execution_id: int


def find_crowds(connection: Connection, without: Collection[int] = ()) -> Sequence[Crowd]:
    """The active pipelines that have more runs open at once than they may, by id; backfills and these do not count."""
    # By ix_pipeline_execution_running.
    statement = f"""
        SELECT pipeline.id, coalesce(pipeline.display_name, pipeline.name), going.runs, pipeline.max_concurrent,
            going.starts[{MOST_OPEN} + 1], going.latest
        FROM (
            SELECT pipeline_id, count(*) AS runs, array_agg(start_date ORDER BY start_date, id) AS starts,
                (array_agg(id ORDER BY start_date DESC, id DESC))[1] AS latest
            FROM pipeline_execution WHERE end_date IS NULL AND NOT backfill AND id <> ALL(CAST(:without AS bigint[]))
            GROUP BY pipeline_id
        ) AS going JOIN pipeline ON pipeline.id = going.pipeline_id
        WHERE pipeline.active AND pipeline.archived_at IS NULL AND going.runs > {MOST_OPEN}
        ORDER BY pipeline.id
    """  # noqa: S608 - of constants
    return [Crowd._make(row) for row in connection.execute(text(statement), {"without": list(without)})]
