"""Executions in lists, and one execution for its page: its pipeline, its callers, the runs beside it, and its tree."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, func, literal_column, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.database.metadata import show_metadata
from watcher_server.executions.clocks import SHOWN_COLUMNS
from watcher_server.executions.models import PipelineExecution
from watcher_server.executions.schemas import ExecutionFacts, ExecutionQuery
from watcher_server.kit.errors import NotFoundError
from watcher_server.kit.listing import list_statement

# Of a larger tree those that are nearest to its top are read.
MOST_EXECUTIONS = 5_000

_SHOWN = [
    literal_column(SHOWN_COLUMNS[name]).label(name) if name in SHOWN_COLUMNS else getattr(PipelineExecution, name)
    for name in ExecutionFacts.model_fields
]


async def list_executions(session: AsyncSession, query: ExecutionQuery) -> Sequence[Row[Any]]:
    """The columns of one page of executions, by id, or the newest first."""
    filters = query.model_dump(include={"pipeline_id", "parent_id", "completed_successfully", "outcome"})
    statement = list_statement(PipelineExecution, **filters).with_only_columns(*_SHOWN)
    if query.running is not None:
        ended = PipelineExecution.end_date
        statement = statement.where(ended.is_(None) if query.running else ended.is_not(None))
    if query.newest_first:
        statement = statement.order_by(None).order_by(PipelineExecution.id.desc())
    page = statement.limit(query.limit).offset(query.offset).subquery()
    shown = show_metadata(page, "execution_metadata", newest_first=query.newest_first)
    rows: Sequence[Row[Any]] = (await session.execute(shown)).all()
    return rows


def require_execution(connection: Connection, pipeline_id: int, execution_id: int) -> None:
    """Pass if the pipeline has that execution; raises NotFoundError if it has not, or there is no such pipeline."""
    statement = """
        SELECT EXISTS (SELECT FROM pipeline WHERE id = :pipeline_id) AS pipeline,
            EXISTS (SELECT FROM pipeline_execution WHERE id = :execution_id AND pipeline_id = :pipeline_id) AS execution
    """
    exists = connection.execute(text(statement), {"pipeline_id": pipeline_id, "execution_id": execution_id}).one()
    for what, it_exists in exists._mapping.items():  # noqa: SLF001 - a public name of SQLAlchemy's, for all its underscore
        if not it_exists:
            raise NotFoundError(f"no such {what}")


class Context(NamedTuple):
    """The pipeline of a run, the timeliness threshold that holds for it today, and the present moment (UTC).

    ``threshold_own`` says that the threshold is the pipeline's and not its type's. ``deadline`` is None without a
    threshold, and for one that reaches past the end of the calendar. ``namespace`` is that of the pipeline's job, where
    events of OpenLineage say it.
    """

    pipeline_name: str
    namespace: str | None
    type_name: str
    threshold_number: int | None
    threshold_datepart: str | None
    threshold_own: bool
    deadline: datetime | None
    now: datetime


# By primary keys.
_CONTEXT = """
SELECT coalesce(pipeline.display_name, pipeline.name), pipeline.openlineage ->> 'namespace', type.name,
    threshold.number, threshold.datepart, pipeline.timeliness_number IS NOT NULL,
    CASE WHEN due.deadline < '9999-01-01' THEN due.deadline END, now()
FROM pipeline
JOIN pipeline_type AS type ON type.id = pipeline.pipeline_type_id
CROSS JOIN LATERAL (SELECT
    coalesce(pipeline.timeliness_number, type.timeliness_number),
    coalesce(pipeline.timeliness_datepart, type.timeliness_datepart)
) AS threshold (number, datepart)
CROSS JOIN LATERAL (
    SELECT watcher_deadline(CAST(:start_date AS timestamptz), threshold.number, threshold.datepart)
) AS due (deadline)
WHERE pipeline.id = :pipeline_id
"""


async def read_run(session: AsyncSession, execution_id: int) -> tuple[PipelineExecution, Context]:
    """The execution, and what holds for it; raises NotFoundError if there is none."""
    run = await session.get(PipelineExecution, execution_id)
    if run is None:
        raise NotFoundError(f"No pipeline execution has the id {execution_id}; it may have been deleted by retention.")
    parameters = {"pipeline_id": run.pipeline_id, "start_date": run.start_date}
    return run, Context(*(await session.execute(text(_CONTEXT), parameters)).one())


async def read_output(session: AsyncSession, execution_id: int) -> str:
    """What the command of the run printed, as far as it was sent; raises NotFoundError if there is none."""
    found = await session.execute(select(PipelineExecution.output).where(PipelineExecution.id == execution_id))
    row = found.one_or_none()
    if row is None:
        raise NotFoundError(f"No pipeline execution has the id {execution_id}.")
    return row.output or ""


class Caller(NamedTuple):
    """An execution above another: ``distance`` is 1 for its parent."""

    id: int
    name: str
    distance: int


# Upwards by primary key, one seek for each step. A parent always exists before its child, so there is no cycle.
_CALLERS_OF = """
WITH RECURSIVE caller (id, parent_id, pipeline_id, distance) AS (
    SELECT id, parent_id, pipeline_id, 0 FROM pipeline_execution WHERE id = :id
    UNION ALL
    SELECT parent.id, parent.parent_id, parent.pipeline_id, distance + 1
    FROM caller JOIN pipeline_execution AS parent ON parent.id = caller.parent_id
)
SELECT caller.id, coalesce(pipeline.display_name, pipeline.name), distance
FROM caller JOIN pipeline ON pipeline.id = caller.pipeline_id
WHERE distance > 0 AND (distance <= :steps OR parent_id IS NULL)
ORDER BY distance DESC
"""


async def read_callers(session: AsyncSession, run: PipelineExecution) -> list[Caller]:
    """The executions above the run, the root first: the root and the nearest; none for a root."""
    if run.parent_id is None:
        return []
    # Of a long chain of callers the nearest ones are read, and the root.
    rows = await session.execute(text(_CALLERS_OF), {"id": run.id, "steps": 3})
    return [Caller(*row) for row in rows]


async def read_beside(
    session: AsyncSession, run: PipelineExecution
) -> tuple[PipelineExecution | None, PipelineExecution | None]:
    """The runs of the same pipeline that started just before and just after this one; None where there is none.

    Each is one seek in ix_pipeline_execution_pipeline_id_start_date.
    """
    execution = PipelineExecution
    place, here = tuple_(execution.start_date, execution.id), tuple_(run.start_date, run.id)
    same = select(execution).where(execution.pipeline_id == run.pipeline_id).limit(1)
    before = same.where(place < here).order_by(execution.start_date.desc(), execution.id.desc())
    after = same.where(place > here).order_by(execution.start_date, execution.id)
    return await session.scalar(before), await session.scalar(after)


async def read_anomalous_metrics(session: AsyncSession, execution_ids: Collection[int]) -> dict[int, Sequence[str]]:
    """Of each execution the metrics that were flagged, and not accepted as normal since."""
    run = PipelineExecution
    metrics = func.watcher_anomalous_metrics(run.id, run.anomaly_flags)
    found = await session.execute(select(run.id, metrics).where(run.id.in_(execution_ids)))
    return {row[0]: row[1] for row in found}


class Node(NamedTuple):
    """An execution in a tree, with the name of its pipeline; times are UTC.

    ``is_anomalous``: a metric of it was flagged, and not accepted as normal.
    """

    id: int
    parent_id: int | None
    name: str
    start_date: datetime
    end_date: datetime | None
    completed_successfully: bool | None
    outcome: str | None
    is_anomalous: bool


class Tree(NamedTuple):
    """Executions depth first, each with its depth below the top; ``is_cut`` says that there are more."""

    order: Sequence[tuple[Node, int]]
    is_cut: bool

    def place_of(self, execution_id: int) -> int | None:
        """Where the execution stands in the order, from 0; None when it is not in this tree."""
        return next((place for place, (node, _) in enumerate(self.order) if node.id == execution_id), None)

    def above(self, execution_id: int) -> frozenset[int]:
        """The ids of the executions above this one in the tree."""
        parents = {node.id: node.parent_id for node, _ in self.order}
        found = set()
        step = parents.get(execution_id)
        while step is not None and step in parents:
            found.add(step)
            step = parents[step]
        return frozenset(found)


# By ix_pipeline_execution_parent_id, one seek for each execution, level by level: by parent_id and not by the closure,
# so that a tree that grows is whole. PostgreSQL goes down no further than the limit needs.
_TREE = """
WITH RECURSIVE tree AS (
    SELECT id, parent_id, pipeline_id, start_date, end_date, completed_successfully, outcome, anomaly_flags
    FROM pipeline_execution WHERE id = :top
    UNION ALL
    SELECT child.id, child.parent_id, child.pipeline_id, child.start_date, child.end_date,
        child.completed_successfully, child.outcome, child.anomaly_flags
    FROM tree JOIN pipeline_execution AS child ON child.parent_id = tree.id
), nearest AS MATERIALIZED (
    SELECT *, row_number() OVER () AS place FROM tree LIMIT :most
)
SELECT nearest.id, parent_id, coalesce(pipeline.display_name, pipeline.name),
    start_date, end_date, completed_successfully, outcome,
    watcher_anomalous_metrics(nearest.id, anomaly_flags) <> '{}'
FROM nearest JOIN pipeline ON pipeline.id = nearest.pipeline_id
ORDER BY place
"""


async def read_tree(session: AsyncSession, top: int) -> Tree:
    """The execution and everything below it, depth first, siblings by their start."""
    rows = (await session.execute(text(_TREE), {"top": top, "most": MOST_EXECUTIONS + 1})).all()
    first, *others = [Node(*row) for row in rows[:MOST_EXECUTIONS]]
    children: dict[int | None, list[Node]] = defaultdict(list)
    for node in sorted(others, key=lambda node: (node.start_date, node.id), reverse=True):
        children[node.parent_id].append(node)
    order: list[tuple[Node, int]] = []
    # Without recursion, because a chain of runs may be longer than Python's limit.
    pending = [(first, 0)]
    while pending:
        node, depth = pending.pop()
        order.append((node, depth))
        pending.extend((child, depth + 1) for child in children[node.id])
    return Tree(order, is_cut=len(rows) > MOST_EXECUTIONS)
