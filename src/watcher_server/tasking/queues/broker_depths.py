"""What the broker holds: messages that wait for a worker, and those that workers have taken."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import redis

from watcher_server.kit.errors import UnavailableError
from watcher_server.tasking.sending.broker import key_prefix, redis_client
from watcher_server.tasking.sending.broker_check import lasting_reason
from watcher_server.tasking.wire import PRIORITY_SUFFIXES, UNACKNOWLEDGED_KEY

UNKNOWN = "unknown"

# A queue, and a task in it.
Kind = tuple[str, str]

# A message is a kilobyte or two. This many per list are read to learn which tasks wait; the others are counted.
_SAMPLE = 2_000


@dataclass(frozen=True)
class BrokerDepths:
    """Messages in the broker, by queue and task.

    ``ready`` waits for a worker; those beyond the sample of a queue count as the task ``unknown``.
    ``unacknowledged`` was taken by a worker and is not done: ``unacknowledged_total`` is all of it, the mapping
    what was sampled. ``scheduled`` is the part of the sampled messages that waits for a moment of its own.
    """

    ready: Counter[Kind]
    unacknowledged: Counter[Kind]
    unacknowledged_total: int
    scheduled: Counter[Kind]


def read_broker_depths(broker_url: str, queues: Sequence[str]) -> BrokerDepths:
    """Ask the broker about these queues, a few seconds at most; raises UnavailableError if it does not answer."""
    try:
        with redis_client(broker_url) as client:
            return _read(client, queues, key_prefix(broker_url))
    except (redis.RedisError, OSError) as error:
        away = "The broker does not answer: start it, or correct WATCHER_BROKER_URL."
        raise UnavailableError(lasting_reason(error) or away) from None


def _read(client: "redis.Redis", queues: Sequence[str], prefix: str) -> BrokerDepths:
    ready, unacknowledged, scheduled = Counter[Kind](), Counter[Kind](), Counter[Kind]()
    keys = [(queue, prefix + queue + suffix) for queue in queues for suffix in PRIORITY_SUFFIXES]
    pipeline = client.pipeline(transaction=False)
    for _, key in keys:
        # The oldest messages are at the right end.
        pipeline.llen(key)
        pipeline.lrange(key, -_SAMPLE, -1)
    pipeline.hlen(prefix + UNACKNOWLEDGED_KEY)
    *lists, unacknowledged_total = pipeline.execute()
    for (queue, _), length, sample in zip(keys, lists[::2], lists[1::2], strict=True):
        # Between counting and reading a list a worker may have taken messages.
        ready[queue, UNKNOWN] += max(0, length - len(sample))
        for message in sample:
            _count(queue, _parse(message), ready, scheduled)
    for _, held in islice(client.hscan_iter(prefix + UNACKNOWLEDGED_KEY, count=_SAMPLE), _SAMPLE):
        # By kombu [message, exchange, routing key]; the routing key is the queue's name.
        match _parse(held):
            case [message, _, str() as queue]:
                _count(queue, message, unacknowledged, scheduled)
    # Without the kinds of which there is nothing.
    return BrokerDepths(+ready, unacknowledged, unacknowledged_total, +scheduled)


def _count(queue: str, message: Any, counts: Counter[Kind], scheduled: Counter[Kind]) -> None:
    """Count a message by its task; one that is not Celery's has an unknown one."""
    headers = message.get("headers") if isinstance(message, dict) else None
    task, eta = (headers.get("task"), headers.get("eta")) if isinstance(headers, dict) else (None, None)
    is_name = isinstance(task, str) and task.isprintable() and len(task) in range(1, 101)
    kind = (queue, str(task) if is_name else UNKNOWN)
    counts[kind] += 1
    scheduled[kind] += _is_later(eta)


def _parse(text: bytes) -> Any:
    """The parsed JSON; None for anything else."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_later(eta: object) -> bool:
    try:
        moment = datetime.fromisoformat(str(eta))
    except ValueError:
        return False
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) > datetime.now(UTC)
