"""Cleanups of random forests of executions, against a plain model of what has to stay."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from threading import Event, Thread

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, insert, select, text
from sqlalchemy.exc import IntegrityError

from tests.support.rows import add_pipeline, add_run, ago, now
from watcher_server.executions.models import PipelineExecution, PipelineExecutionClosure
from watcher_server.executions.tasks import maintain_closure
from watcher_server.retention.schemas import CleanupRequest
from watcher_server.retention.service import clean_up
from watcher_server.timeliness.models import TimelinessExecutionLog


@dataclass(frozen=True)
class Run:
    """An execution of the model: its parent's place in the list, its age in days, and whether it runs still."""

    parent: int | None
    age: int
    running: bool

    @property
    def stays_by_itself(self) -> bool:
        return self.running or self.age < 90


@st.composite
def forests(draw: st.DrawFn) -> list[Run]:
    """Trees in the order in which they were reported, which is not always that of their starts."""
    runs: list[Run] = []
    for place in range(draw(st.integers(1, 25))):
        parent = draw(st.none() | st.integers(0, place - 1)) if place else None
        # A few ages, so that many runs start at the same moment.
        runs.append(Run(parent, draw(st.sampled_from([10, 89, 91, 100, 400])), draw(st.integers(0, 9)) == 0))
    return runs


def _staying(runs: Sequence[Run]) -> set[int]:
    staying: set[int] = set()
    for place, run in enumerate(runs):
        step: int | None = place if run.stays_by_itself else None
        while step is not None:
            staying.add(step)
            step = runs[step].parent
    return staying


def _store(connection: Connection, runs: Sequence[Run]) -> None:
    """The forest, each execution with its closure and a log; their ids are their places."""
    for table in ("timeliness_pipeline_execution_log", "pipeline_execution_closure", "pipeline_execution"):
        connection.execute(text(f"DELETE FROM {table}"))
    moment = now()
    for place, run in enumerate(runs):
        start = moment - timedelta(days=run.age)
        ended = None if run.running else start + timedelta(minutes=5)
        add_run(connection, 1, id=place, start_date=start, end_date=ended, parent_id=run.parent)
        maintain_closure(connection, place)
    threshold = {"timely_number": 1, "timely_datepart": "hour", "used_child_config": True}
    log = {"pipeline_id": 1, "execution_status": "completed", **threshold}
    connection.execute(
        insert(TimelinessExecutionLog), [{"pipeline_execution_id": place, **log} for place in range(len(runs))]
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(runs=forests(), batch_size=st.sampled_from([1, 2, 3, 7, 10_000]), stops_after=st.integers(0, 6))
def test_exactly_what_is_old_and_over_and_has_no_kept_descendant_goes(
    engine: Engine, runs: list[Run], batch_size: int, stops_after: int
) -> None:
    with engine.begin() as connection:
        if connection.scalar(text("SELECT count(*) FROM pipeline")) == 0:
            add_pipeline(connection)
        _store(connection, runs)
        pairs = set(connection.execute(select(*PipelineExecutionClosure.__table__.c)))
    staying = _staying(runs)
    request = CleanupRequest(retention_days=90, batch_size=batch_size)

    batches = iter(range(stops_after))
    first = clean_up(engine, request, goes_on=lambda: next(batches, None) is not None)
    rest = clean_up(engine, request)

    assert rest.finished
    with engine.begin() as connection:
        assert set(connection.scalars(select(PipelineExecution.id))) == staying
        assert set(connection.scalars(select(TimelinessExecutionLog.pipeline_execution_id))) == staying
        left = set(connection.execute(select(*PipelineExecutionClosure.__table__.c)))
    assert left == {pair for pair in pairs if {pair[0], pair[1]} <= staying}
    deleted = Counter(first.counts) + Counter(rest.counts)
    gone = len(runs) - len(staying)
    assert deleted["total_pipeline_executions_deleted"] == gone
    assert deleted["total_timeliness_pipeline_execution_logs_deleted"] == gone
    closure = ("total_pipeline_execution_closure_parent_deleted", "total_pipeline_execution_closure_child_deleted")
    assert sum(deleted[name] for name in closure) == len(pairs) - len(left)


def test_runs_that_are_given_children_meanwhile_stay_and_nobody_fails(engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
        old = [
            add_run(connection, pipeline, start_date=ago(days=100), end_date=ago(days=99), parent_id=None)
            for _ in range(150)
        ]
    stopping, born = Event(), set()

    def bear() -> None:
        for parent in old[::3]:
            try:
                with engine.begin() as connection:
                    add_run(connection, pipeline, start_date=ago(days=1), end_date=None, parent_id=parent)
            except IntegrityError:
                continue  # It was gone already: the caller is told so.
            born.add(parent)
            if stopping.is_set():
                return

    bearing = Thread(target=bear)
    bearing.start()
    clean_up(engine, CleanupRequest(retention_days=90, batch_size=5))
    stopping.set()
    bearing.join()
    clean_up(engine, CleanupRequest(retention_days=90))

    with engine.begin() as connection:
        left = set(connection.scalars(select(PipelineExecution.id).where(PipelineExecution.end_date.is_not(None))))
    assert left == born
