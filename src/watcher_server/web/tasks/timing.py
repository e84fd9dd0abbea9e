"""How long a task waited and ran."""

from dataclasses import dataclass
from datetime import UTC, datetime

from watcher_server.kit.durations import duration_text
from watcher_server.task_history.service import Task
from watcher_server.task_history.states import TaskState
from watcher_server.web.filters import NONE

_MILLISECONDS_BELOW = 1
_TENTHS_BELOW = 60


def span_text(seconds: float | None) -> str:
    """A duration as short as most tasks are: milliseconds below a second, tenths below a minute."""
    if seconds is None:
        return NONE
    if seconds < _MILLISECONDS_BELOW:
        return f"{max(0, seconds) * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < _TENTHS_BELOW else duration_text(seconds)


@dataclass(frozen=True)
class Stretch:
    """A part of a task's life, with its share of the whole in percent; ``start`` is where it begins."""

    name: str
    label: str
    seconds: float
    start: float
    share: float

    @property
    def text(self) -> str:
        """How long it was."""
        return span_text(self.seconds)


def waited_seconds(task: Task) -> float | None:
    """From its creation until its last try began; for one that has not begun, until now."""
    if task.started_at is not None:
        return _seconds(task.created_at, task.started_at)
    return None if task.finished_at is not None else _seconds(task.created_at, datetime.now(UTC))


def ran_seconds(task: Task) -> float | None:
    """How long its last try ran, or has been running; None where that is not known."""
    if task.started_at is None:
        return None
    if task.state == TaskState.PROGRESS:
        return _seconds(task.started_at, datetime.now(UTC))
    return None if task.finished_at is None else _seconds(task.started_at, task.finished_at)


def stretches(task: Task) -> list[Stretch]:
    """The parts of its life one after the other, as far as it has got; of a task that was tried again, the last try."""
    now = datetime.now(UTC)
    is_over = task.finished_at is not None
    ends = [
        ("outbox", "Waited in the outbox", task.published_at),
        ("broker", "Earlier tries and waits" if task.retries else "Waited for a worker", task.started_at),
        ("run", "Ran", task.finished_at if task.started_at else None),
    ]
    parts = []
    begin = task.created_at
    for name, label, end in ends:
        if end is None and is_over:
            break
        parts.append((name, label, _seconds(begin, end or now)))
        if end is None:
            break
        begin = max(begin, end)
    return _shares(parts)


def _shares(parts: list[tuple[str, str, float]]) -> list[Stretch]:
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
