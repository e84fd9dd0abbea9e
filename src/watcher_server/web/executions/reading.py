"""What the page of an execution reads: the run itself, what called it, and the runs beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.kit.errors import NotFoundError

# Of a long chain the breadcrumb names so many steps above the run, and the root.
_STEPS_ABOVE = 3

# By primary keys. A threshold that reaches past the calendar's end is as good as none.
_RUN = """
SELECT execution.*, pipeline.name AS pipeline_name, type.name AS type_name, pipeline.active, now() AS now,
    coalesce(pipeline.timeliness_number, type.timeliness_number) AS threshold_number,
    coalesce(pipeline.timeliness_datepart, type.timeliness_datepart) AS threshold_datepart,
    pipeline.timeliness_number IS NOT NULL AS threshold_own,
    CASE WHEN due.deadline < '9999-01-01' THEN due.deadline END AS deadline
FROM pipeline_execution AS execution
JOIN pipeline ON pipeline.id = execution.pipeline_id
JOIN pipeline_type AS type ON type.id = pipeline.pipeline_type_id
CROSS JOIN LATERAL (SELECT watcher_deadline(
    execution.start_date,
    coalesce(pipeline.timeliness_number, type.timeliness_number),
    coalesce(pipeline.timeliness_datepart, type.timeliness_datepart)
)) AS due (deadline)
WHERE execution.id = :id
"""

# Upwards by primary key, one seek for each step. A parent always exists before its child, so there is no circle.
_ANCESTORS = """
WITH RECURSIVE ancestor (id, parent_id, pipeline_id, distance) AS (
    SELECT id, parent_id, pipeline_id, 0 FROM pipeline_execution WHERE id = :id
    UNION ALL
    SELECT parent.id, parent.parent_id, parent.pipeline_id, distance + 1
    FROM ancestor JOIN pipeline_execution AS parent ON parent.id = ancestor.parent_id
)
SELECT ancestor.id, pipeline.name, distance
FROM ancestor JOIN pipeline ON pipeline.id = ancestor.pipeline_id
WHERE distance > 0 AND (distance <= :steps OR parent_id IS NULL)
ORDER BY distance DESC
"""

# Each side one seek in ix_pipeline_execution_pipeline_id_start_date.
_BESIDE = """
(SELECT 'before' AS side, execution.* FROM pipeline_execution AS execution
WHERE pipeline_id = :pipeline_id AND (start_date, id) < (:start_date, :id)
ORDER BY start_date DESC, id DESC LIMIT 1)
UNION ALL
(SELECT 'after', execution.* FROM pipeline_execution AS execution
WHERE pipeline_id = :pipeline_id AND (start_date, id) > (:start_date, :id)
ORDER BY start_date, id LIMIT 1)
"""


@dataclass(frozen=True)
class Step:
    """An execution above another: ``distance`` is 1 for its parent."""

    id: int
    name: str
    distance: int


@dataclass(frozen=True)
class Beside:
    """The runs of the same pipeline that started just before and just after; None where there is none."""

    before: Row[Any] | None
    after: Row[Any] | None


async def read_run(session: AsyncSession, execution_id: int) -> Row[Any]:
    """The columns of the execution, of its pipeline, its timeliness ``deadline``, and ``now``; all times UTC.

    Raises:
        NotFoundError: no such execution.
    """
    row = (await session.execute(text(_RUN), {"id": execution_id})).one_or_none()
    if row is None:
        raise NotFoundError(f"No pipeline execution has the id {execution_id}; it may have been deleted by retention.")
    return row


async def read_ancestors(session: AsyncSession, run: Row[Any]) -> Sequence[Step]:
    """What called the run, the root first: the root and the nearest; none for a root."""
    if run.parent_id is None:
        return []
    rows = await session.execute(text(_ANCESTORS), {"id": run.id, "steps": _STEPS_ABOVE})
    return [Step(*row) for row in rows]


async def read_beside(session: AsyncSession, run: Row[Any]) -> Beside:
    """The runs of the same pipeline just before and just after this one, by their start."""
    values = {"pipeline_id": run.pipeline_id, "start_date": run.start_date, "id": run.id}
    sides = {row.side: row for row in await session.execute(text(_BESIDE), values)}
    return Beside(sides.get("before"), sides.get("after"))


def status_of(end_date: datetime | None, succeeded: bool | None, *, is_flagged: bool) -> str:
    """How a run went, in the word of its colour: running, failed, anomalous or completed."""
    if end_date is None:
        return "running"
    if not succeeded:
        return "failed"
    return "anomalous" if is_flagged else "completed"


def status_of_run(run: Row[Any]) -> str:
    """How a run went, of a row with all its columns."""
    return status_of(run.end_date, run.completed_successfully, is_flagged=any(run.anomaly_flags.values()))
