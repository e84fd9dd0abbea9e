"""How a pipeline does: what is wrong with it, since when, and why."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.pipelines.board import shown_status
from watcher_server.pipelines.states import PipelineState
from watcher_server.pipelines.status import Status, read_conditions
from watcher_server.web.pipeline.facts import Facts

# How far back the beginning of a row of failures is looked for.
MOST_FAILURES = 1_000
# Among how many of the latest runs the last success is looked for that says how long a run takes.
_RECENT = 100
_ERROR_KEYS = ("error", "error_message", "exception", "message")
_LONGEST_ERROR = 300


@dataclass(frozen=True, slots=True)
class Failed:
    """``runs`` in a row have failed since the last success, the first of which ended at ``since``."""

    word: ClassVar[str] = "failed"
    since: datetime
    runs: int
    first_id: int
    latest_id: int
    last_success: datetime | None
    error: str | None

    @property
    def capped(self) -> bool:
        """Whether it may be more of them, for longer."""
        return self.runs == MOST_FAILURES


@dataclass(frozen=True, slots=True)
class Missed:
    """A run was expected at ``since``, and none has started."""

    word: ClassVar[str] = "missed"
    since: datetime


@dataclass(frozen=True, slots=True)
class Late:
    """A run was expected at ``since`` and may still start within its grace."""

    word: ClassVar[str] = "late"
    since: datetime


@dataclass(frozen=True, slots=True)
class Overdue:
    """The run that is going should have ended by ``since``."""

    word: ClassVar[str] = "overdue"
    since: datetime | None
    execution_id: int
    started: datetime


@dataclass(frozen=True, slots=True)
class Stale:
    """Nothing was written since long before ``since``, when the data was too old; ``last_write`` None for never."""

    word: ClassVar[str] = "stale"
    since: datetime | None
    last_write: datetime | None


@dataclass(frozen=True, slots=True)
class Anomalous:
    """The latest run is flagged; ``since`` is the end of the first run of the longest of its events."""

    word: ClassVar[str] = "anomalous"
    since: datetime
    execution_id: int
    results: tuple[Row[Any], ...]


@dataclass(frozen=True, slots=True)
class Running:
    """A run has been going since then; ``last_seconds`` is how long the last that ended took."""

    word: ClassVar[str] = "running"
    since: datetime
    execution_id: int
    last_seconds: int | None


Finding = Failed | Missed | Late | Overdue | Stale | Anomalous | Running


@dataclass(frozen=True, slots=True)
class Standing:
    """The status in one word, and each finding behind it, the worst first; ``latest`` is the latest run, if any."""

    status: str
    findings: tuple[Finding, ...]
    latest: Row[Any] | None


async def read_standing(session: AsyncSession, facts: Facts) -> Standing:
    """How the pipeline does now."""
    pipeline_id = facts.row.id
    condition = (await read_conditions(session, [pipeline_id]))[pipeline_id]
    latest = await _read_latest(session, pipeline_id)
    # That a run is going is said of one that is overdue.
    untold = {Status.RUNNING} if Status.OVERDUE in condition.holding else set[Status]()
    words = [word for word in Status if word in condition.holding - untold]
    findings = [finding for word in words for finding in await _find(session, facts, word, latest)]
    late = facts.row.active and facts.row.state == PipelineState.LATE
    if late and facts.row.expected_next_run is not None:
        findings.append(Late(facts.row.expected_next_run))
    status = shown_status(condition.status, active=facts.row.active, late=late)
    return Standing(status, tuple(findings), latest)


async def _find(session: AsyncSession, facts: Facts, word: Status, latest: Row[Any] | None) -> list[Finding]:
    """The finding of that condition; none when it has passed since it was read."""
    match word:
        case Status.FAILED:
            return await _read_failures(session, facts.row.id)
        case Status.ANOMALOUS:
            return await _read_anomalies(session, facts.row.id)
        case Status.MISSED:
            return [Missed(facts.row.last_missed_run)]
        case Status.STALE:
            return [Stale(facts.stale_at, facts.last_write)]
    return [] if latest is None or latest.end_date is not None else [_going(word, latest)]


def _going(word: Status, run: Row[Any]) -> Finding:
    if word is Status.OVERDUE:
        return Overdue(run.overdue_at, run.id, run.start_date)
    return Running(run.start_date, run.id, run.last_seconds)


# By ix_pipeline_execution_pipeline_id_start_date.
_LATEST = """
SELECT latest.id, latest.start_date, latest.end_date, latest.duration_seconds, latest.total_rows,
    latest.completed_successfully,
    CASE WHEN deadline.overdue_at < '9999-01-01' THEN deadline.overdue_at END AS overdue_at,
    (
        SELECT duration_seconds FROM (
            SELECT * FROM pipeline_execution AS before WHERE before.pipeline_id = latest.pipeline_id
            ORDER BY start_date DESC, id DESC LIMIT :recent
        ) AS recent
        WHERE completed_successfully ORDER BY start_date DESC, id DESC LIMIT 1
    ) AS last_seconds
FROM (
    SELECT * FROM pipeline_execution WHERE pipeline_id = :pipeline_id ORDER BY start_date DESC, id DESC LIMIT 1
) AS latest
JOIN pipeline ON pipeline.id = latest.pipeline_id
JOIN pipeline_type AS type ON type.id = pipeline.pipeline_type_id
CROSS JOIN LATERAL (
    SELECT watcher_deadline(latest.start_date, coalesce(pipeline.timeliness_number, type.timeliness_number),
        coalesce(pipeline.timeliness_datepart, type.timeliness_datepart))
) AS deadline (overdue_at)
"""


async def _read_latest(session: AsyncSession, pipeline_id: int) -> Row[Any] | None:
    return (await session.execute(text(_LATEST), {"pipeline_id": pipeline_id, "recent": _RECENT})).one_or_none()


# Backwards by ix_pipeline_execution_pipeline_id_start_date, so many runs at most.
_FAILURES = """
WITH recent AS (
    SELECT id, start_date, end_date, completed_successfully, execution_metadata
    FROM pipeline_execution WHERE pipeline_id = :pipeline_id AND end_date IS NOT NULL
    ORDER BY start_date DESC, id DESC LIMIT :most
), succeeded AS (
    SELECT id, start_date, end_date FROM recent WHERE completed_successfully ORDER BY start_date DESC, id DESC LIMIT 1
), failed AS (
    SELECT * FROM recent
    WHERE NOT EXISTS (SELECT FROM succeeded) OR (start_date, id) > (SELECT start_date, id FROM succeeded)
)
SELECT first.id AS first_id, first.end_date AS since, latest.id AS latest_id, latest.execution_metadata,
    (SELECT count(*) FROM failed) AS runs, (SELECT end_date FROM succeeded) AS last_success
FROM (SELECT * FROM failed ORDER BY start_date, id LIMIT 1) AS first
CROSS JOIN (SELECT * FROM failed ORDER BY start_date DESC, id DESC LIMIT 1) AS latest
"""


async def _read_failures(session: AsyncSession, pipeline_id: int) -> list[Finding]:
    found = await session.execute(text(_FAILURES), {"pipeline_id": pipeline_id, "most": MOST_FAILURES})
    return [
        Failed(
            since=row.since,
            runs=row.runs,
            first_id=row.first_id,
            latest_id=row.latest_id,
            last_success=row.last_success,
            error=_error(row.execution_metadata),
        )
        for row in found
    ]


def _error(metadata: Any) -> str | None:
    """What the run itself says went wrong, by the names under which programs usually put it."""
    if not isinstance(metadata, dict):
        return None
    for key in _ERROR_KEYS:
        said = metadata.get(key)
        if isinstance(said, str) and said.strip():
            return said.strip()[:_LONGEST_ERROR]
    return None


# The latest run that ended by ix_pipeline_execution_pipeline_id_start_date, its results by their execution.
_ANOMALIES = """
SELECT result.id, result.pipeline_execution_id AS execution_id, result.metric_field, result.violation_value,
    result.lower_bound, result.upper_bound, result.z_score,
    coalesce(event.started_at, result.detected_at) AS since, coalesce(event.execution_count, 1) AS runs
FROM (
    SELECT id FROM pipeline_execution WHERE pipeline_id = :pipeline_id AND end_date IS NOT NULL
    ORDER BY start_date DESC, id DESC LIMIT 1
) AS latest
JOIN anomaly_detection_result AS result ON result.pipeline_execution_id = latest.id
LEFT JOIN anomaly_event AS event ON event.id = result.event_id
ORDER BY since, result.metric_field
"""


async def _read_anomalies(session: AsyncSession, pipeline_id: int) -> list[Finding]:
    results = tuple((await session.execute(text(_ANOMALIES), {"pipeline_id": pipeline_id})).all())
    if not results:
        return []
    return [Anomalous(since=results[0].since, execution_id=results[0].execution_id, results=results)]
