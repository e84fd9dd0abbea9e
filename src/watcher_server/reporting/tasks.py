"""The task that sums past days."""

import logging
import time

from watcher_server.reporting.schemas import LONGEST_DAYS
from watcher_server.reporting.sums import find_writers, sum_changes, sum_next_day, watch_past_days
from watcher_server.tasking.sending.task import report_progress, task_transaction, watcher_task

logger = logging.getLogger(__name__)

# Writing a run takes milliseconds. If a transaction writes for longer than this, the next task sums the days.
_WRITERS_SECONDS = 60.0
# Runs of these days wait meanwhile, about ten milliseconds.
_CHANGES_AT_ONCE = 50


@watcher_task("daily_metrics_task", status="Summing daily figures...")
def daily_metrics_task() -> dict[str, int]:
    """Sum past days, and changed ones again; reports are exact before, during and after it."""
    with task_transaction() as connection:
        unsummed = watch_past_days(connection)
    return {"days": _sum_days() if unsummed and _writers_are_over() else 0, "changes": _sum_changes()}


def _writers_are_over() -> bool:
    """Wait until every transaction has ended that may have begun to write before the last of the days was over."""
    with task_transaction() as connection:
        writers = find_writers(connection)
    deadline = time.monotonic() + _WRITERS_SECONDS
    while writers:
        if time.monotonic() > deadline:
            logger.warning("A transaction has been writing executions for %d s: no day is summed.", _WRITERS_SECONDS)
            return False
        time.sleep(0.1)
        with task_transaction() as connection:
            writers = find_writers(connection, writers)
    return True


def _sum_days() -> int:
    """Each day is committed before the next one begins, so a task that is stopped loses no finished day."""
    days = 0
    while True:
        with task_transaction() as connection:
            day = sum_next_day(connection)
        if day is None:
            return days
        days += 1
        report_progress(f"Summed {day}", 90 * days // (LONGEST_DAYS + 1))


def _sum_changes() -> int:
    changes = 0
    while True:
        with task_transaction() as connection:
            found = sum_changes(connection, _CHANGES_AT_ONCE)
        changes += found
        if found < _CHANGES_AT_ONCE:
            return changes
        report_progress(f"Summed {changes} changed days of pipelines", 95)
