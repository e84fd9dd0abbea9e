"""What the broker holds: messages that wait for a worker, and those that workers have taken."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import redis

from watcher_server.kit.errors import UnavailableError
from watcher_server.queueing.broker import redis_client

UNKNOWN = "unknown"

# A queue, and a task in it.
Kind = tuple[str, str]

# kombu keeps each priority of a queue in a list of its own; priority 0 has the queue's plain name.
_PRIORITY_KEYS = ("", "\x06\x163", "\x06\x166", "\x06\x169")
_UNACKNOWLEDGED_KEY = "unacked"
# A message is a kilobyte or two: so many per list are read to learn which tasks wait, the rest is only counted.
_SAMPLE = 2_000
_LONGEST_NAME = 100
_BROKER_DOWN = "The broker does not answer: start it, or correct WATCHER_BROKER_URL."


@dataclass(frozen=True)
class BrokerDepths:
    """Messages in the broker, by queue and task.

    ``ready`` waits for a worker; those beyond the sample of a queue count as the task ``unknown``.
    ``unacknowledged`` was taken by a worker and is not done: ``unacknowledged_total`` is all of it, the mapping
    what was sampled. ``scheduled`` is the part of the sampled messages that waits for a moment of its own.
    """

    ready: Mapping[Kind, int]
    unacknowledged: Mapping[Kind, int]
    unacknowledged_total: int
    scheduled: Mapping[Kind, int]


@dataclass(frozen=True)
class _Message:
    queue: str
    task: str
    is_later: bool


def read_broker_depths(broker_url: str, queues: Sequence[str]) -> BrokerDepths:
    """Ask the broker about these queues; at most a few seconds.

    Raises:
        UnavailableError: it does not answer.
    """
    try:
        with redis_client(broker_url) as client:
            return _read(client, queues)
    except (redis.RedisError, OSError):
        raise UnavailableError(_BROKER_DOWN) from None


def _read(client: "redis.Redis", queues: Sequence[str]) -> BrokerDepths:
    keys = [(queue, queue + suffix) for queue in queues for suffix in _PRIORITY_KEYS]
    pipeline = client.pipeline(transaction=False)
    for _, key in keys:
        # The oldest messages are at the right end.
        pipeline.llen(key)
        pipeline.lrange(key, -_SAMPLE, -1)
    pipeline.hlen(_UNACKNOWLEDGED_KEY)
    *lists, unacknowledged_total = pipeline.execute()
    lengths: Counter[str] = Counter()
    ready: list[_Message] = []
    for (queue, _), length, sample in zip(keys, lists[::2], lists[1::2], strict=True):
        lengths[queue] += length
        ready.extend(_message(queue, _parse(message)) for message in sample)
    taken = list(_unacknowledged(client))
    return BrokerDepths(
        ready=_count_ready(ready, lengths),
        unacknowledged=_count(taken),
        unacknowledged_total=unacknowledged_total,
        scheduled=_count(message for message in (*ready, *taken) if message.is_later),
    )


def _count_ready(messages: Sequence[_Message], lengths: Mapping[str, int]) -> dict[Kind, int]:
    counts = Counter(_count(messages))
    sampled = Counter(message.queue for message in messages)
    for queue, length in lengths.items():
        # Between counting and reading a list a worker may have taken messages.
        counts[queue, UNKNOWN] += max(0, length - sampled[queue])
    return {kind: count for kind, count in counts.items() if count}


def _count(messages: Iterable[_Message]) -> dict[Kind, int]:
    return dict(Counter((message.queue, message.task) for message in messages))


def _unacknowledged(client: "redis.Redis") -> Iterator[_Message]:
    """What workers hold: kombu keeps [message, exchange, routing key] for each, and the key is the queue's name."""
    held = client.hscan_iter(_UNACKNOWLEDGED_KEY, count=_SAMPLE)
    for _, entry in islice(held, _SAMPLE):
        match _parse(entry):
            case [message, _, str() as queue]:
                yield _message(queue, message)


def _parse(text: bytes) -> Any:
    """The JSON; None for what is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _message(queue: str, message: Any) -> _Message:
    """What a message is about; one that is not Celery's is of an unknown task."""
    headers = message.get("headers") if isinstance(message, dict) else None
    if not isinstance(headers, dict):
        return _Message(queue, UNKNOWN, is_later=False)
    return _Message(queue, _task_name(headers.get("task")), _is_later(headers.get("eta")))


def _task_name(name: object) -> str:
    """The name, if it is one that can be shown."""
    is_name = isinstance(name, str) and name.isprintable() and 0 < len(name) <= _LONGEST_NAME
    return str(name) if is_name else UNKNOWN


def _is_later(eta: object) -> bool:
    try:
        moment = datetime.fromisoformat(str(eta))
    except ValueError:
        return False
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) > datetime.now(UTC)
