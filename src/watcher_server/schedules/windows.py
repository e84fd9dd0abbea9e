"""When a run may start and still count as the expected one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from watcher_server.schedules.cron import Schedule


@dataclass(frozen=True)
class Window:
    """One expected run, and from when to when (both included, UTC) an execution counts as it."""

    expected_at: datetime
    opens: datetime
    closes: datetime


def opens_at(schedule: Schedule, grace: timedelta, expected_at: datetime, before: datetime | None = None) -> datetime:
    """The earliest start with which an execution counts as the run expected then; ``before`` is the run before that.

    Schedulers start a few seconds early. At most the grace, and less than half the distance to the run before.
    """
    previous = before or schedule.last_before(expected_at)
    return expected_at - (grace if previous is None else min(grace, (expected_at - previous) / 2))


def find_windows(schedule: Schedule, grace: timedelta, runs: Sequence[datetime]) -> list[Window]:
    """The windows of consecutive runs, the earliest first."""
    previous = [None, *runs[:-1]]
    following = [*runs[1:], schedule.first_after(runs[-1])]
    return [
        Window(
            expected_at=run,
            opens=opens_at(schedule, grace, run, before),
            closes=run + grace if after is None else min(run + grace, after),
        )
        for before, run, after in zip(previous, runs, following, strict=True)
    ]
