"""Deleting rows that are older than the retention, in small transactions, while everything else goes on."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, text

from watcher_server.audit.service import Change, record
from watcher_server.database.locks import CLEANUP_LOCK
from watcher_server.kit.errors import ConflictError
from watcher_server.retention.executions import Step, delete_executions
from watcher_server.retention.logs import delete_logs
from watcher_server.retention.schemas import CleanupRequest


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
    """Delete finished executions that started before the retention, the rows that refer to them, and old logs.

    Running executions and ancestors of kept ones stay, and so does the log of a pipeline's present state. Each batch
    commits by itself, so the next cleanup goes on where this one stopped.

    Args:
        engine: the cleanup takes two of its connections.
        request: the age of the rows, and the most rows of a batch.
        goes_on: called after each batch; once it returns false, the cleanup ends.
        report: called after each batch with the deletions so far and the progress (percent).

    Raises:
        ConflictError: another cleanup is running.
    """
    cutoff = datetime.now(UTC) - timedelta(days=request.retention_days)
    total: Counter[str] = Counter()
    percent = 0
    # PostgreSQL releases the lock with the transaction, even when this process is killed.
    with engine.begin() as guard:
        if not guard.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": CLEANUP_LOCK}):
            raise ConflictError("Another cleanup is running: try again when it has finished.")
        with engine.begin() as connection:
            # Before the first batch, which commits by itself: what was deleted is told of however this ends.
            record(connection, Change("clean_up", "history", None, "old runs, logs and alerts", after=dict(request)))
        for step in _steps(engine, cutoff, request.batch_size):
            total.update(step.counts)
            # A second pass covers the same time again, so progress stays where it was.
            percent = max(percent, int(100 * step.done))
            executions = total["total_pipeline_executions_deleted"]
            report(f"Deleted {executions:,} executions and {total.total() - executions:,} other rows", percent)
            if not goes_on():
                return Cleanup(dict(total), finished=False)
    return Cleanup(dict(total), finished=True)


def _steps(engine: Engine, cutoff: datetime, batch_size: int) -> Iterator[Step]:
    """All steps of a cleanup. The executions count as 95 percent of the work."""
    for step in delete_executions(engine, cutoff, batch_size):
        yield Step(step.counts, 0.95 * step.done)
    for step in delete_logs(engine, cutoff, batch_size):
        yield Step(step.counts, 0.95 + 0.05 * step.done)
