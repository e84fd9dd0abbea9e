"""Why each word holds of a pipeline: since when, how often in a row, and which runs show it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import Final, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

# The first failure in a row is looked for among this many runs.
MOST_FAILURES: Final = 1_000

# What a failed run, named failed, says of itself: an error in its metadata, else the last lines that it printed.
RUN_ERROR: Final = """
SELECT watcher_run_error(execution_metadata, output) FROM pipeline_execution WHERE id = failed.latest_id
"""


class FlaggedMetric(NamedTuple):
    """A metric of a run that is out of range; ``runs`` is how many in a row are, ``since`` of the first."""

    execution_id: int
    id: int
    metric_field: str
    violation_value: float
    lower_bound: float
    upper_bound: float
    since: datetime
    runs: int


@dataclass(frozen=True, slots=True)
class Finding:
    """One word that holds of a pipeline, and since when (UTC).

    Of what is wrong ``count`` is how many runs in a row show it, ``execution_id`` the latest of them,
    ``first_execution_id`` the first of those that failed. ``at`` is when the missed or due run was expected, or when
    the run began that is going or late, or when the one that was lost was heard last. ``error`` is what the latest
    failed run says of itself, ``last_success`` when the last successful run ended, ``usual_seconds`` how long it took.
    """

    word: str
    since: datetime | None
    count: int = 1
    execution_id: int | None = None
    first_execution_id: int | None = None
    at: datetime | None = None
    error: str | None = None
    last_success: datetime | None = None
    usual_seconds: int | None = None
    metrics: Sequence[FlaggedMetric] = ()

    @property
    def metric_names(self) -> str:
        """The metrics that are out of range, in words."""
        return ", ".join(sorted(metric.metric_field for metric in self.metrics)).replace("_", " ")

    @property
    def is_capped(self) -> bool:
        """Whether more runs may have failed, for longer, than were looked at."""
        return self.count >= MOST_FAILURES


# The incidents by ix_incident_open_pipeline_id, the run that is going by ix_pipeline_execution_running, the others
# backwards by ix_pipeline_execution_pipeline_id_start_date: of a pipeline that fails the last success and what came
# first after it, of one that runs what the last one took.
_FINDINGS = f"""
SELECT found.*, success.end_date AS last_success, success.duration_seconds AS usual_seconds,
    ({RUN_ERROR}) AS error, (
        SELECT execution.id FROM pipeline_execution AS execution
        WHERE word = 'failing' AND execution.pipeline_id = found.pipeline_id AND execution.end_date IS NOT NULL
            AND execution.outcome IS NULL AND NOT execution.backfill
            AND execution.start_date >= coalesce(success.start_date, '-infinity')
            AND execution.id IS DISTINCT FROM success.id
        ORDER BY execution.start_date, execution.id LIMIT 1
    ) AS first_id
FROM (
    SELECT incident.pipeline_id, kind AS word, since, count AS number, execution_id,
        CASE kind WHEN 'missed' THEN pipeline.last_missed_run
            WHEN 'lost' THEN (SELECT end_date FROM pipeline_execution WHERE id = execution_id)
            WHEN 'late' THEN (SELECT start_date FROM pipeline_execution WHERE id = execution_id) END AS at
    FROM incident JOIN pipeline ON pipeline.id = incident.pipeline_id
    WHERE incident.pipeline_id = ANY(CAST(:pipeline_ids AS bigint[])) AND state <> 'resolved'
    UNION ALL
    (SELECT DISTINCT ON (pipeline_id) pipeline_id, 'running', start_date, 1, id, start_date
    FROM pipeline_execution
    WHERE pipeline_id = ANY(CAST(:pipeline_ids AS bigint[])) AND end_date IS NULL AND NOT backfill
    ORDER BY pipeline_id, start_date DESC, id DESC)
    UNION ALL
    SELECT id, 'due', expected_next_run, 1, NULL, expected_next_run FROM pipeline
    WHERE id = ANY(CAST(:pipeline_ids AS bigint[]))
) AS found
LEFT JOIN LATERAL (
    SELECT id, start_date, end_date, duration_seconds
    FROM (
        SELECT id, start_date, end_date, duration_seconds, completed_successfully
        FROM pipeline_execution AS execution
        WHERE word IN ('failing', 'running') AND execution.pipeline_id = found.pipeline_id AND end_date IS NOT NULL
            AND outcome IS NULL AND NOT backfill
        ORDER BY start_date DESC, id DESC LIMIT :most
    ) AS recent
    WHERE completed_successfully ORDER BY start_date DESC, id DESC LIMIT 1
) AS success ON true
CROSS JOIN LATERAL (SELECT CASE word WHEN 'failing' THEN found.execution_id END) AS failed (latest_id)
"""  # noqa: S608 - a constant

# The results by their execution.
_FLAGGED_METRICS = """
SELECT execution.id AS execution_id, result.id, result.metric_field, result.violation_value,
    result.lower_bound, result.upper_bound, coalesce(event.started_at, execution.end_date) AS since,
    coalesce(event.execution_count, 1) AS runs
FROM pipeline_execution AS execution
JOIN anomaly_detection_result AS result ON result.pipeline_execution_id = execution.id
LEFT JOIN anomaly_event AS event ON event.id = result.event_id
WHERE execution.id = ANY(CAST(:execution_ids AS bigint[])) AND event.accepted_at IS NULL
ORDER BY execution.id, since, result.metric_field
"""


async def read_findings(session: AsyncSession, pipeline_ids: Collection[int]) -> dict[int, dict[str, Finding]]:
    """The findings of each pipeline by word. A word of a schedule or a run may hold no more."""
    parameters = {"pipeline_ids": list(pipeline_ids), "most": MOST_FAILURES}
    rows = (await session.execute(text(_FINDINGS), parameters)).all()
    odd = [row.execution_id for row in rows if row.word == "anomalous" and row.execution_id is not None]
    flagged = await session.execute(text(_FLAGGED_METRICS), {"execution_ids": odd}) if odd else ()
    by_execution = groupby(map(FlaggedMetric._make, flagged), attrgetter("execution_id"))
    metrics = {execution_id: tuple(found) for execution_id, found in by_execution}
    found: dict[int, dict[str, Finding]] = {pipeline_id: {} for pipeline_id in pipeline_ids}
    for row in rows:
        found[row.pipeline_id][row.word] = Finding(
            row.word,
            row.since,
            count=row.number,
            execution_id=row.execution_id,
            first_execution_id=row.first_id,
            at=row.at,
            error=row.error,
            last_success=row.last_success,
            usual_seconds=row.usual_seconds,
            metrics=metrics.get(row.execution_id, ()) if row.word == "anomalous" else (),
        )
    return found
