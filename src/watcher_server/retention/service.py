"""Deleting what is older than the retention, in small transactions, while everything else goes on."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, text

from watcher_server.database.locks import CLEANUP_LOCK
from watcher_server.kit.errors import ConflictError
from watcher_server.retention.executions import Step, delete_executions
from watcher_server.retention.logs import delete_logs
from watcher_server.retention.schemas import CleanupRequest

# Of the work: executions are nearly all of it.
_EXECUTIONS_SHARE = 0.95


@dataclass(frozen=True)
class Cleanup:
    """Rows deleted, by the names of the answer; ``finished`` is false when it was stopped before the end."""

    counts: dict[str, int]
    finished: bool


def clean_up(
    engine: Engine,
    request: CleanupRequest,
    *,
    goes_on: Callable[[], bool] = lambda: True,
    report: Callable[[str, int], None] = lambda _step, _percent: None,
) -> Cleanup:
    """Delete finished executions that started before the retention, with what hangs on them, and all other history.

    Running executions and ancestors of anything kept stay, and so does the log of the state that a pipeline is in.
    Each batch commits by itself: what was deleted stays deleted, and the next cleanup goes on from there.

    Args:
        engine: takes two connections of it.
        request: how old, and how many rows at once at most.
        goes_on: asked after each batch; once false, the cleanup ends there.
        report: told after each batch what has been deleted so far, and how much is done (percent).

    Raises:
        ConflictError: another cleanup is running.
    """
    cutoff = datetime.now(UTC) - timedelta(days=request.retention_days)
    total: Counter[str] = Counter()
    percent = 0
    with _alone(engine):
        for step in _steps(engine, cutoff, request.batch_size):
            total.update(step.counts)
            # What is looked at a second time has been counted the first time.
            percent = max(percent, int(100 * step.done))
            report(_describe(total), percent)
            if not goes_on():
                return Cleanup(dict(total), finished=False)
    return Cleanup(dict(total), finished=True)


@contextmanager
def _alone(engine: Engine) -> Iterator[None]:
    # A lock of the transaction ends with it, whatever happens to this process.
    with engine.begin() as guard:
        if not guard.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": CLEANUP_LOCK}):
            raise ConflictError("Another cleanup is running: try again when it has finished.")
        yield


def _steps(engine: Engine, cutoff: datetime, batch_size: int) -> Iterator[Step]:
    for step in delete_executions(engine, cutoff, batch_size):
        yield Step(step.counts, _EXECUTIONS_SHARE * step.done)
    for step in delete_logs(engine, cutoff, batch_size):
        yield Step(step.counts, _EXECUTIONS_SHARE + (1 - _EXECUTIONS_SHARE) * step.done)


def _describe(total: Counter[str]) -> str:
    executions = total["total_pipeline_executions_deleted"]
    return f"Deleted {executions:,} executions and {sum(total.values()) - executions:,} other rows"
