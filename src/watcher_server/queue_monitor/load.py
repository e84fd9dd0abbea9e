"""The load of a queue or a task: what waits, how fast it moves, how long it will take."""

from collections.abc import Iterable
from dataclasses import dataclass

from watcher_server.queue_monitor.broker_depths import BrokerDepths, Kind
from watcher_server.queue_monitor.table_depths import TableDepths

_MINUTE_SECONDS = 60
# A minute's count of a slower task says nothing about its rate.
_COUNTABLE_PER_SECOND = 0.1


@dataclass(frozen=True)
class Load:
    """What waits and how fast it moves, in tasks: of a queue, of a task, or of everything.

    ``ready`` waits in the broker for a worker, ``unacknowledged`` was taken by one and is not done; both are None
    when the broker does not answer. ``outbox_pending`` is due and not published yet; ``scheduled`` is for later.
    ``oldest_seconds`` is how long the oldest has waited since it was due. What came in, went out and failed is of
    the last minute. ``seconds_to_drain`` is how long the pending ones will take; None when nothing goes out.
    """

    ready: int | None
    unacknowledged: int | None
    scheduled: int
    outbox_pending: int
    oldest_seconds: float | None
    in_per_minute: int
    out_per_minute: int
    failed_per_minute: int
    seconds_to_drain: float | None = None

    @property
    def pending(self) -> int:
        """What waits to run: ready in the broker, and due in the outbox."""
        return (self.ready or 0) + self.outbox_pending


def loads_by_kind(tables: Iterable[TableDepths], broker: BrokerDepths | None) -> dict[Kind, Load]:
    """What database and broker know of each queue and task, together; no times to drain yet."""
    known = {(depths.queue, depths.task): depths for depths in tables}
    in_broker = [] if broker is None else [*broker.ready, *broker.unacknowledged]
    return {
        kind: _load(known.get(kind) or TableDepths(*kind), kind, broker) for kind in dict.fromkeys([*known, *in_broker])
    }


def _load(depths: TableDepths, kind: Kind, broker: BrokerDepths | None) -> Load:
    return Load(
        ready=None if broker is None else broker.ready.get(kind, 0),
        unacknowledged=None if broker is None else broker.unacknowledged.get(kind, 0),
        scheduled=depths.later + (0 if broker is None else broker.scheduled.get(kind, 0)),
        outbox_pending=depths.due,
        oldest_seconds=depths.oldest_seconds,
        in_per_minute=depths.arrived,
        out_per_minute=depths.finished,
        failed_per_minute=depths.failed,
    )


def total_load(loads: Iterable[Load], *, broker_answers: bool) -> Load:
    """The sum of loads; the oldest is the oldest of all. No time to drain yet."""
    loads = list(loads)
    return Load(
        ready=sum(load.ready or 0 for load in loads) if broker_answers else None,
        unacknowledged=sum(load.unacknowledged or 0 for load in loads) if broker_answers else None,
        scheduled=sum(load.scheduled for load in loads),
        outbox_pending=sum(load.outbox_pending for load in loads),
        oldest_seconds=max((load.oldest_seconds for load in loads if load.oldest_seconds is not None), default=None),
        in_per_minute=sum(load.in_per_minute for load in loads),
        out_per_minute=sum(load.out_per_minute for load in loads),
        failed_per_minute=sum(load.failed_per_minute for load in loads),
    )


def time_to_drain(load: Load, limit_per_second: float | None, *, is_served: bool) -> float | None:
    """Seconds until what is pending has gone out; None when nothing goes out.

    A task with a rate limit goes out at that rate when a worker serves it. Once it has waited for a minute, the
    rate of that minute is known, and is the truth: the workers may be slower than the limit.
    """
    if load.pending == 0:
        return 0.0
    per_second = load.out_per_minute / _MINUTE_SECONDS
    if limit_per_second is not None and not _is_measured(load, limit_per_second):
        per_second = limit_per_second if is_served else 0.0
    return load.pending / per_second if per_second else None


def _is_measured(load: Load, limit_per_second: float) -> bool:
    return (load.oldest_seconds or 0) >= _MINUTE_SECONDS and limit_per_second >= _COUNTABLE_PER_SECOND


def slowest(times: Iterable[float | None]) -> float | None:
    """The longest of the times to drain; None as soon as one of them is."""
    longest = 0.0
    for seconds in times:
        if seconds is None:
            return None
        longest = max(longest, seconds)
    return longest
