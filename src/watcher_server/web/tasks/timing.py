"""How long a task waited and ran."""

from datetime import UTC, datetime
from typing import NamedTuple

from watcher_server.kit.durations import duration_text
from watcher_server.tasking.history.schemas import TaskSummary
from watcher_server.tasking.history.states import TaskState
from watcher_server.web.filters import NONE


def span_text(seconds: float | None) -> str:
    """A duration as short as most tasks are: milliseconds below a second, tenths below a minute."""
    if seconds is None:
        return NONE
    if seconds < 1:
        return f"{max(0, seconds) * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 60 else duration_text(seconds)  # noqa: PLR2004 - a minute


class Stretch(NamedTuple):
    """A part of a task's life, with its share of the whole in percent; ``start`` is where it begins."""

    name: str
    label: str
    seconds: float
    start: float
    share: float


def waited_seconds(task: TaskSummary) -> float | None:
    """From its creation until its last try began; for one that has not begun, until now."""
    if task.started_at is not None:
        return _seconds(task.created_at, task.started_at)
    return None if task.finished_at is not None else _seconds(task.created_at, datetime.now(UTC))


def ran_seconds(task: TaskSummary) -> float | None:
    """How long its last try ran, or has been running; None where that is not known."""
    if task.started_at is None:
        return None
    if task.state == TaskState.PROGRESS:
        return _seconds(task.started_at, datetime.now(UTC))
    return None if task.finished_at is None else _seconds(task.started_at, task.finished_at)


def stretches(task: TaskSummary) -> list[Stretch]:
    """The parts of its life until now, one after the other; of a task that was tried again, the last try."""
    now = datetime.now(UTC)
    ends = [
        ("outbox", "Waited in the outbox", task.published_at),
        ("broker", "Earlier tries and waits" if task.retries else "Waited for a worker", task.started_at),
        ("run", "Ran", task.finished_at if task.started_at else None),
    ]
    parts: list[tuple[str, str, float]] = []
    begin = task.created_at
    for name, label, end in ends:
        if end is not None or task.finished_at is None:
            parts.append((name, label, _seconds(begin, end or now)))
        if end is None:
            break
        begin = max(begin, end)
    whole = sum(seconds for _, _, seconds in parts) or 1.0
    found: list[Stretch] = []
    start = 0.0
    for name, label, seconds in parts:
        share = 100 * seconds / whole
        found.append(Stretch(name, label, seconds, round(start, 2), round(share, 2)))
        start += share
    return found


def _seconds(start: datetime, end: datetime) -> float:
    # Clocks of two machines may differ a little.
    return max(0.0, (end - start).total_seconds())
