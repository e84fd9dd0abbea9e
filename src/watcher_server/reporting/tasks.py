"""The task that sums days that are over."""

import logging
import time

from watcher_server.queueing.task import report_progress, task_transaction, watcher_task
from watcher_server.reporting.schemas import LONGEST_DAYS
from watcher_server.reporting.sums import find_writers, sum_changes, sum_next_day, watch_past_days

logger = logging.getLogger(__name__)

# A report of a run is a matter of milliseconds; what writes for longer is waited for the next time.
_WRITERS_SECONDS = 60.0
_LOOK_EVERY_SECONDS = 0.1
# Runs of these days wait meanwhile: some ten milliseconds.
_CHANGES_AT_ONCE = 50


@watcher_task("daily_metrics_task", status="Summing daily figures...")
def daily_metrics_task() -> dict[str, int]:
    """Sum the days that are over, and those again that have changed; reports are exact before, meanwhile and after."""
    with task_transaction() as connection:
        unsummed = watch_past_days(connection)
    return {"days": _sum_days() if unsummed and _writers_are_over() else 0, "changes": _sum_changes()}


def _writers_are_over() -> bool:
    """Wait until nobody is left who may have begun to write before the last of the days was over."""
    with task_transaction() as connection:
        writers = find_writers(connection)
    deadline = time.monotonic() + _WRITERS_SECONDS
    while writers:
        if time.monotonic() > deadline:
            logger.warning("A transaction has been writing executions for %d s: no day is summed.", _WRITERS_SECONDS)
            return False
        time.sleep(_LOOK_EVERY_SECONDS)
        with task_transaction() as connection:
            writers = find_writers(connection, writers)
    return True


def _sum_days() -> int:
    """The sum of each day stands when the next is begun, so a task that is stopped has not worked in vain."""
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
