"""How bad the depth of each queue is, and which queues are at another level than the one last told."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.postgresql import insert

from watcher_server.settings import Settings
from watcher_server.tasking.models import QueueAlertState
from watcher_server.tasking.queues.depths import QueueState


class QueueLevel(StrEnum):
    """How bad the depth of a queue is."""

    INFO = "INFO"
    WARNING = "WARNING"
    CRITICAL = "CRITICAL"


@dataclass(frozen=True)
class LevelChange:
    """A queue that is at another level than the one last told; None is a queue that is fine."""

    queue: str
    before: QueueLevel | None
    now: QueueLevel | None


def thresholds(settings: Settings) -> dict[QueueLevel, int]:
    """Lowest number of pending tasks for each level, the least bad first."""
    return {
        QueueLevel.INFO: settings.queue_alert_info,
        QueueLevel.WARNING: settings.queue_alert_warning,
        QueueLevel.CRITICAL: settings.queue_alert_critical,
    }


def level_of(pending: int, before: QueueLevel | None, settings: Settings) -> QueueLevel | None:
    """The level of a queue with this many pending tasks that was at ``before``; None for a queue that is fine."""
    levels = thresholds(settings)
    left = 0 if before is None else levels[before]
    for level, threshold in reversed(levels.items()):
        # A queue goes down a level below this share of the level's threshold: one that hovers around it changes once.
        percent = 80 if left >= threshold else 100
        if 100 * pending >= percent * threshold:
            return level
    return None


def find_level_changes(connection: Connection, state: QueueState, settings: Settings) -> list[LevelChange]:
    """The queues whose level differs from the one last told."""
    rows = connection.execute(select(QueueAlertState.queue, QueueAlertState.level))
    stored = {row.queue: None if row.level is None else QueueLevel(row.level) for row in rows}
    changes = []
    for queue, load in state.queues.items():
        before = stored.get(queue)
        pending = load.pending
        if load.ready is None and before is not None:
            # While the broker is away its part is unknown, so a level cannot fall.
            pending = max(pending, thresholds(settings)[before])
        now = level_of(pending, before, settings)
        if now != before:
            changes.append(LevelChange(queue, before, now))
    return changes


def store_level(connection: Connection, change: LevelChange) -> datetime | None:
    """Store the new level in place of the old one; when (UTC), None when another check has stored one meanwhile."""
    new = insert(QueueAlertState).values(queue=change.queue, level=change.now)
    statement = new.on_conflict_do_update(
        index_elements=[QueueAlertState.queue],
        set_={"level": change.now, "changed_at": func.clock_timestamp()},
        where=QueueAlertState.level.is_not_distinct_from(change.before),
    ).returning(QueueAlertState.changed_at)
    changed_at: datetime | None = connection.scalar(statement)
    return changed_at
