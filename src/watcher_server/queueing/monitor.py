"""How much waits in the queues, and telling people when it is too much."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import redis
from celery import Celery
from kombu.exceptions import KombuError
from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.postgresql import insert

from watcher_server.alerts.service import Level, NewAlert, raise_alert
from watcher_server.kit.errors import UnavailableError
from watcher_server.queueing.broker import redis_client
from watcher_server.queueing.configuration import MAIN_QUEUE, SCHEDULED_QUEUE, broker_configuration
from watcher_server.queueing.models import OutboxMessage, QueueAlertState
from watcher_server.settings import Settings

QUEUES = (MAIN_QUEUE, SCHEDULED_QUEUE)
UNKNOWN = "unknown"

# kombu keeps each priority of a queue in a list of its own; priority 0 has the queue's plain name.
_PRIORITY_KEYS = ("", "\x06\x163", "\x06\x166", "\x06\x169")
_UNACKNOWLEDGED_KEY = "unacked"
# A message is a kilobyte or two: so many per list are read to learn which tasks wait, the rest is only counted.
_SAMPLE = 2_000
_WORKER_ANSWER_SECONDS = 1.0
_BROKER_DOWN = "The broker does not answer: start it, or correct WATCHER_BROKER_URL."


@dataclass(frozen=True)
class QueueDepths:
    """What the broker holds, in messages.

    ``ready`` waits for a worker, by queue. ``tasks`` counts the same messages by task, those beyond the sample as
    ``unknown``. ``reserved`` was taken by a worker and is not acknowledged yet; ``timed`` is the part of ready and
    reserved that waits for a time of its own, such as a retry (within the sample).
    """

    ready: Mapping[str, int]
    tasks: Mapping[str, int]
    reserved: int
    timed: int

    @property
    def total(self) -> int:
        """All messages that wait for a worker."""
        return sum(self.ready.values())


@dataclass(frozen=True)
class LevelChange:
    """A queue that is at another level than when it was last looked at; None is a queue that is fine."""

    queue: str
    pending: int
    timed: int
    before: str | None
    now: str | None


def read_queue_depths(broker_url: str) -> QueueDepths:
    """Ask the broker; at most a few seconds.

    Raises:
        UnavailableError: it does not answer.
    """
    try:
        with redis_client(broker_url) as client:
            return _read(client)
    except (redis.RedisError, OSError):
        raise UnavailableError(_BROKER_DOWN) from None


def _read(client: "redis.Redis") -> QueueDepths:
    keys = [(queue, queue + suffix) for queue in QUEUES for suffix in _PRIORITY_KEYS]
    pipeline = client.pipeline(transaction=False)
    for _, key in keys:
        # The oldest messages are at the right end.
        pipeline.llen(key)
        pipeline.lrange(key, -_SAMPLE, -1)
    pipeline.hlen(_UNACKNOWLEDGED_KEY)
    *lists, reserved = pipeline.execute()
    ready: Counter[str] = Counter(dict.fromkeys(QUEUES, 0))
    for (queue, _), length in zip(keys, lists[::2], strict=True):
        ready[queue] += length
    headers = [_headers(message) for sample in lists[1::2] for message in sample]
    tasks = _count_tasks(headers, sum(ready.values()))
    timed = _count_timed([*headers, *_reserved_headers(client)])
    return QueueDepths(ready=ready, tasks=tasks, reserved=reserved, timed=timed)


def _count_tasks(headers: Sequence[Mapping[str, Any]], total: int) -> dict[str, int]:
    counts = Counter(str(header.get("task") or UNKNOWN) for header in headers)
    # Between counting and reading a list a worker may have taken messages.
    unread = max(0, total - len(headers))
    unknown = counts.pop(UNKNOWN, 0) + unread
    return {**dict(counts.most_common()), UNKNOWN: unknown}


def _headers(message: bytes) -> Mapping[str, Any]:
    """The headers of a message; none for one that is not Celery's."""
    try:
        headers = json.loads(message)["headers"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return {}
    return headers if isinstance(headers, dict) else {}


def _reserved_headers(client: "redis.Redis") -> Iterable[Mapping[str, Any]]:
    """The headers of messages that workers hold: kombu keeps [message, exchange, routing key] for each."""
    held = client.hscan_iter(_UNACKNOWLEDGED_KEY, count=_SAMPLE)
    for _, entry in islice(held, _SAMPLE):
        try:
            message = json.loads(entry)[0]
        except (ValueError, TypeError, LookupError, RecursionError):
            continue
        if isinstance(message, dict) and isinstance(message.get("headers"), dict):
            yield message["headers"]


def _count_timed(headers: Iterable[Mapping[str, Any]]) -> int:
    now = datetime.now(UTC)
    return sum(1 for header in headers if _is_later(header.get("eta"), now))


def _is_later(eta: object, now: datetime) -> bool:
    try:
        moment = datetime.fromisoformat(str(eta))
    except ValueError:
        return False
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) > now


def count_outbox(connection: Connection) -> int:
    """Messages that were committed and not yet published."""
    return connection.scalar(select(func.count()).select_from(OutboxMessage)) or 0


def count_active_workers(settings: Settings) -> int:
    """Workers that answer within a second; none when the broker is away."""
    with Celery("watcher-monitor", set_as_current=False) as asker:
        asker.conf.update(broker_configuration(settings))
        asker.conf.broker_transport_options |= {"socket_timeout": 3, "socket_connect_timeout": 3}
        try:
            return len(asker.control.inspect(timeout=_WORKER_ANSWER_SECONDS).ping() or {})
        except (KombuError, redis.RedisError, OSError):
            return 0


def level_of(pending: int, settings: Settings) -> Level | None:
    """How bad so many pending messages are; None when they are nothing to speak of."""
    if pending >= settings.queue_alert_critical:
        return Level.CRITICAL
    if pending >= settings.queue_alert_warning:
        return Level.WARNING
    return Level.INFO if pending >= settings.queue_alert_info else None


def find_level_changes(connection: Connection, depths: QueueDepths, settings: Settings) -> list[LevelChange]:
    """The queues whose level differs from the one last alerted."""
    rows = connection.execute(select(QueueAlertState.queue, QueueAlertState.level))
    stored = {row.queue: row.level for row in rows}
    changes = []
    for queue, pending in depths.ready.items():
        level = level_of(pending, settings)
        now = None if level is None else level.value
        if now != stored.get(queue):
            changes.append(LevelChange(queue, pending, depths.timed, stored.get(queue), now))
    return changes


def raise_queue_alerts(connection: Connection, changes: Sequence[LevelChange], active_workers: int) -> int:
    """Alert each change that nobody else has alerted in the meantime; how many were."""
    return sum(_raise_queue_alert(connection, change, active_workers) for change in changes)


def _raise_queue_alert(connection: Connection, change: LevelChange, active_workers: int) -> bool:
    changed_at = _swap_level(connection, change)
    if changed_at is None:
        return False
    level = Level.RESOLVED if change.now is None else Level(change.now)
    return raise_alert(
        connection,
        NewAlert(
            dedupe_key=f"queue:{change.queue}:{level}:{changed_at.isoformat()}",
            level=level,
            title="Celery Queue Alert",
            message=f"Queue has {change.pending} pending tasks",
            details=(
                ("Messages in queue", str(change.pending)),
                ("Scheduled tasks", str(change.timed)),
                ("Workers active", str(active_workers)),
                ("Queue", change.queue),
            ),
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
