"""The latest executions of pipelines, as pages show them."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, func, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from watcher_server.executions.clocks import exact_seconds, shown_dates
from watcher_server.executions.models import PipelineExecution
from watcher_server.pipelines.models import Pipeline

# How many runs one page looks through for those that fit.
LOOKED_THROUGH = 5_000


class Outcome(StrEnum):
    """Which runs are shown; ``moves`` are those that succeeded and said where the watermark stands."""

    ALL = ""
    FAILED = "failed"
    LOST = "lost"
    ABORTED = "aborted"
    RETRIED = "retried"
    ANOMALOUS = "anomalous"
    RUNNING = "running"
    COMPLETED = "completed"
    MOVES = "moves"


class ListedRun(NamedTuple):
    """A run with its numbers; ``anomalous_metrics`` are those that were flagged, and not accepted as normal."""

    id: int
    start_date: datetime
    end_date: datetime | None
    completed_successfully: bool | None
    outcome: str | None
    duration_seconds: int | None
    total_rows: int | None
    inserts: int | None
    updates: int | None
    soft_deletes: int | None
    throughput: float | None
    watermark: str | None
    next_watermark: str | None
    anomalous_metrics: list[str]
    start_skew: timedelta | None
    end_skew: timedelta | None

    @property
    def seconds(self) -> float | None:
        """How long it took, exactly; None while it is going, and where nobody knows."""
        return exact_seconds(self)

    @property
    def shown_start(self) -> datetime:
        """When it began, as it said."""
        return shown_dates(self)[0]


class RunPage(NamedTuple):
    """Runs, the newest first.

    ``older`` and ``newer`` are the ids to go on from, None where there is nothing more. ``cut`` says that not every
    run was looked at, and that there may be more that fit before ``older``. ``following`` is the run before the last.
    """

    runs: Sequence[ListedRun]
    older: int | None
    newer: int | None
    cut: bool = False
    following: ListedRun | None = None


async def read_newest_runs(session: AsyncSession, pipeline_id: int, number: int) -> list[ListedRun]:
    """The newest runs of the pipeline, the newest first, by ix_pipeline_execution_pipeline_id_start_date."""
    return await _read(session, _fitting(pipeline_id, Outcome.ALL, None, newer=False).limit(number))


async def read_runs(
    session: AsyncSession,
    pipeline_id: int,
    outcome: Outcome,
    *,
    page_size: int,
    before: int | None = None,
    after: int | None = None,
) -> RunPage:
    """The runs of that outcome before an execution, after one, or the newest."""
    if after is not None and before is None:
        found = await _read(session, _fitting(pipeline_id, outcome, after, newer=True).limit(page_size + 1))
        shown = found[:page_size][::-1]
        newer = shown[0].id if len(found) > page_size else None
        return RunPage(shown, older=shown[-1].id if shown else None, newer=newer)
    found = await _read(session, _fitting(pipeline_id, outcome, before, newer=False).limit(page_size + 1))
    newer = found[0].id if found and before is not None else None
    if len(found) > page_size:
        return RunPage(found[:page_size], older=found[page_size - 1].id, newer=newer, following=found[page_size])
    last = _look_through(pipeline_id, outcome, before, newer=False).offset(LOOKED_THROUGH - 1).limit(1)
    older = await session.scalar(last.with_only_columns(PipelineExecution.id))
    return RunPage(found, older=older, newer=newer, cut=older is not None)


async def _read(session: AsyncSession, statement: Select[Any]) -> list[ListedRun]:
    return [ListedRun._make(row) for row in await session.execute(statement)]


def _fitting(pipeline_id: int, outcome: Outcome, cursor: int | None, *, newer: bool) -> Select[Any]:
    """The runs of that outcome among those that one page looks through."""
    looked_through = _look_through(pipeline_id, outcome, cursor, newer=newer).limit(LOOKED_THROUGH).subquery()
    run = aliased(PipelineExecution, looked_through)
    fits: dict[Outcome, Sequence[ColumnElement[bool]]] = {
        Outcome.ALL: (),
        Outcome.FAILED: (run.completed_successfully.is_(False), run.outcome.is_(None)),
        **{word: (run.outcome == word.value,) for word in (Outcome.LOST, Outcome.ABORTED, Outcome.RETRIED)},
        Outcome.ANOMALOUS: (func.cardinality(_anomalous_metrics(run)) > 0,),
        Outcome.RUNNING: (run.end_date.is_(None),),
        Outcome.COMPLETED: (run.completed_successfully.is_(True),),
        Outcome.MOVES: (run.completed_successfully.is_(True), run.next_watermark.is_not(None)),
    }
    shown = [
        _anomalous_metrics(run) if name == "anomalous_metrics" else getattr(run, name) for name in ListedRun._fields
    ]
    return select(*shown).where(*fits[outcome]).order_by(*_order(run, newer=newer))


def _anomalous_metrics(run: type[PipelineExecution]) -> ColumnElement[Any]:
    return func.watcher_anomalous_metrics(run.id, run.anomaly_flags)


def _look_through(pipeline_id: int, outcome: Outcome, cursor: int | None, *, newer: bool) -> Select[Any]:
    """The runs before an execution (or after it), in both directions by ix_pipeline_execution_pipeline_id_start_date.

    Runs that are going have an index of their own, ix_pipeline_execution_running: only they are looked through for
    that outcome.
    """
    run = PipelineExecution
    stored = ("anomaly_flags" if name == "anomalous_metrics" else name for name in ListedRun._fields)
    statement = select(*(getattr(run, name) for name in stored)).where(run.pipeline_id == pipeline_id)
    if outcome is Outcome.RUNNING:
        statement = statement.where(run.end_date.is_(None))
    if cursor is not None:
        at = aliased(PipelineExecution)
        place = select(at.start_date, at.id).where(at.id == cursor).scalar_subquery()
        this = tuple_(run.start_date, run.id)
        statement = statement.where(this > place if newer else this < place)
    return statement.order_by(*_order(run, newer=newer))


def _order(run: type[PipelineExecution], *, newer: bool) -> Sequence[ColumnElement[Any]]:
    return (run.start_date.asc(), run.id.asc()) if newer else (run.start_date.desc(), run.id.desc())


class RunOutcome(NamedTuple):
    """A run and what came of it: failed, lost, aborted, retried, anomalous, running or ok.

    ``seconds`` count until now while it is going.
    """

    pipeline_id: int
    id: int
    start_date: datetime
    end_date: datetime | None
    seconds: int
    total_rows: int | None
    outcome: str


# By ix_pipeline_execution_pipeline_id_start_date, backwards.
_LATEST_RUNS = """
SELECT wanted.id AS pipeline_id, run.*
FROM unnest(CAST(:pipeline_ids AS bigint[])) WITH ORDINALITY AS wanted (id, place)
CROSS JOIN LATERAL (
    SELECT execution.id, start_date, end_date,
        greatest(0, coalesce(duration_seconds, extract(epoch FROM coalesce(end_date, now()) - start_date)::bigint)),
        total_rows,
        CASE WHEN end_date IS NULL THEN 'running'
            WHEN NOT completed_successfully THEN coalesce(execution.outcome, 'failed')
            WHEN watcher_anomalous_metrics(execution.id, anomaly_flags) <> '{}' THEN 'anomalous' ELSE 'ok' END
    FROM pipeline_execution AS execution
    WHERE execution.pipeline_id = wanted.id
    ORDER BY start_date DESC, execution.id DESC LIMIT :number
) AS run (id, start_date, end_date, seconds, total_rows, outcome)
ORDER BY place, start_date DESC, run.id DESC
"""


async def read_latest_runs(
    session: AsyncSession, pipeline_ids: Collection[int], number: int
) -> dict[int, list[RunOutcome]]:
    """The latest runs of each of these pipelines, the newest first; a pipeline that never ran is left out."""
    found = await session.execute(text(_LATEST_RUNS), {"pipeline_ids": list(pipeline_ids), "number": number})
    runs = map(RunOutcome._make, found)
    return {pipeline_id: list(its) for pipeline_id, its in groupby(runs, attrgetter("pipeline_id"))}


class RunSince(NamedTuple):
    """A run and what came of it: failed, lost, aborted, retried, anomalous, running or ok."""

    pipeline_id: int
    id: int
    start_date: datetime
    end_date: datetime | None
    outcome: str


# Of each pipeline one range of ix_pipeline_execution_pipeline_id_start_date; runs that began before and are still going
# by ix_pipeline_execution_running.
_RUNS_SINCE = """
SELECT wanted.id AS pipeline_id, run.*
FROM unnest(CAST(:pipeline_ids AS bigint[])) AS wanted (id)
CROSS JOIN LATERAL (
    (SELECT id, start_date, end_date, CASE
        WHEN end_date IS NULL THEN 'running'
        WHEN NOT completed_successfully THEN coalesce(execution.outcome, 'failed')
        WHEN watcher_anomalous_metrics(execution.id, anomaly_flags) <> '{}' THEN 'anomalous'
        ELSE 'ok' END AS outcome
    FROM pipeline_execution AS execution
    WHERE execution.pipeline_id = wanted.id AND start_date >= :since
    ORDER BY start_date DESC LIMIT :most)
    UNION ALL
    SELECT id, start_date, NULL, 'running'
    FROM pipeline_execution AS execution
    WHERE execution.pipeline_id = wanted.id AND end_date IS NULL AND start_date < :since
) AS run
"""


async def read_runs_since(
    session: AsyncSession, pipeline_ids: Collection[int], since: datetime, most: int
) -> list[RunSince]:
    """The runs that began since then, the latest of each pipeline up to ``most``, and all that are still going."""
    parameters = {"pipeline_ids": list(pipeline_ids), "since": since, "most": most}
    return [RunSince._make(row) for row in await session.execute(text(_RUNS_SINCE), parameters)]


class FirstRun(NamedTuple):
    """The first run that Watcher was told of."""

    id: int
    pipeline_name: str


async def find_first_run(session: AsyncSession) -> FirstRun | None:
    """The run with the lowest id; None while none has ever come."""
    named = func.coalesce(Pipeline.display_name, Pipeline.name)
    first = select(PipelineExecution.id, named).join(Pipeline, Pipeline.id == PipelineExecution.pipeline_id)
    row = (await session.execute(first.order_by(PipelineExecution.id).limit(1))).one_or_none()
    return None if row is None else FirstRun(*row)
