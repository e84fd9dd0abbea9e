"""Telling people when too much waits in a queue: one alert per change of level."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.postgresql import insert

from watcher_server.alerts.service import Level, NewAlert, raise_alert
from watcher_server.kit.durations import duration_text
from watcher_server.queue_monitor.depths import QueueState, measure_queues
from watcher_server.queue_monitor.models import QueueAlertState
from watcher_server.settings import Settings

# A level is left downwards below so much of its threshold: a queue that hovers around one alerts once.
_LEFT_BELOW_PERCENT = 80


@dataclass(frozen=True)
class LevelChange:
    """A queue that is at another level than the one last alerted; None is a queue that is fine."""

    queue: str
    before: Level | None
    now: Level | None


def check_queues(connection: Connection, settings: Settings) -> int:
    """Measure the queues and alert each whose level changed; how many alerts. They are sent once this commits.

    A broker that does not answer takes a few seconds at most; what waits for it in the outbox is alerted all the same.
    """
    return raise_queue_alerts(connection, measure_queues(connection, settings), settings)


def raise_queue_alerts(connection: Connection, state: QueueState, settings: Settings) -> int:
    """Alert each change of level that nobody else has alerted in the meantime; how many were."""
    changes = find_level_changes(connection, state, settings)
    return sum(raise_queue_alert(connection, change, state) for change in changes)


def find_level_changes(connection: Connection, state: QueueState, settings: Settings) -> list[LevelChange]:
    """The queues whose level differs from the one last alerted."""
    rows = connection.execute(select(QueueAlertState.queue, QueueAlertState.level))
    stored = {row.queue: None if row.level is None else Level(row.level) for row in rows}
    changes = []
    for queue, load in state.queues.items():
        before = stored.get(queue)
        # What the broker holds is not known while it is away: no reason to say that a queue is better.
        pending = load.pending if load.ready is not None else max(load.pending, _threshold(before, settings))
        now = level_of(pending, before, settings)
        if now != before:
            changes.append(LevelChange(queue, before, now))
    return changes


def level_of(pending: int, before: Level | None, settings: Settings) -> Level | None:
    """How bad so many pending tasks are in a queue that was at ``before``; None when they are nothing to speak of."""
    for level in (Level.CRITICAL, Level.WARNING, Level.INFO):
        threshold = _threshold(level, settings)
        percent = _LEFT_BELOW_PERCENT if _threshold(before, settings) >= threshold else 100
        if 100 * pending >= percent * threshold:
            return level
    return None


def _threshold(level: Level | None, settings: Settings) -> int:
    """From so many pending tasks on a queue is at this level."""
    thresholds = {
        Level.INFO: settings.queue_alert_info,
        Level.WARNING: settings.queue_alert_warning,
        Level.CRITICAL: settings.queue_alert_critical,
    }
    return 0 if level is None else thresholds[level]


def raise_queue_alert(connection: Connection, change: LevelChange, state: QueueState) -> bool:
    """Alert a change of level; False when somebody else was faster."""
    changed_at = _swap_level(connection, change)
    if changed_at is None:
        return False
    level = change.now or Level.RESOLVED
    return raise_alert(
        connection,
        NewAlert(
            dedupe_key=f"queue:{change.queue}:{level}:{changed_at.isoformat()}",
            level=level,
            title="Celery Queue Alert",
            message=f"Queue has {state.queues[change.queue].pending} pending tasks",
            details=_details(change.queue, state),
        ),
    )


def _swap_level(connection: Connection, change: LevelChange) -> datetime | None:
    """Store the new level if the old one is still there: of two checks at once, one alerts."""
    new = insert(QueueAlertState).values(queue=change.queue, level=change.now)
    statement = new.on_conflict_do_update(
        index_elements=[QueueAlertState.queue],
        set_={"level": change.now, "changed_at": func.clock_timestamp()},
        where=QueueAlertState.level.is_not_distinct_from(change.before),
    ).returning(QueueAlertState.changed_at)
    changed_at: datetime | None = connection.scalar(statement)
    return changed_at


def _details(queue: str, state: QueueState) -> list[tuple[str, str]]:
    """Those of every queue alert, in their known order, and then what is known beyond them."""
    load = state.queues[queue]
    details = [
        ("Messages in queue", str(load.pending)),
        ("Scheduled tasks", str(load.scheduled)),
        ("Workers active", str(state.workers.get(queue, 0))),
        ("Queue", queue),
        ("In per minute", str(load.in_per_minute)),
        ("Out per minute", str(load.out_per_minute)),
    ]
    if load.oldest_seconds is not None:
        details.append(("Oldest waits for", duration_text(load.oldest_seconds)))
    if load.pending and load.seconds_to_drain is not None:
        details.append(("Time to drain", duration_text(load.seconds_to_drain)))
    if state.broker_error is not None:
        details.append(("Broker", state.broker_error))
    return details
