"""The load of a queue or a task: what waits, how fast it moves, how long it will take."""

from collections.abc import Iterable

from pydantic import computed_field

from watcher_server.kit.fields import ResponseBody


class LoadReport(ResponseBody):
    """What waits and how fast it moves, in tasks: of a queue, of a task, or of everything.

    ``pending`` waits to run: ``ready`` in the broker and ``outbox_pending`` in the database. ``unacknowledged`` was
    taken by a worker and is not done; ``scheduled`` is for later. Both broker numbers are null while it is away.
    ``oldest_seconds`` is how long the oldest has waited since it was due, and null when nothing waits. What came in,
    went out and failed is of the last minute. ``seconds_to_drain`` is how long the pending ones will take, and null
    when nothing goes out.
    """

    ready: int | None
    unacknowledged: int | None
    scheduled: int
    outbox_pending: int
    oldest_seconds: float | None
    in_per_minute: int
    out_per_minute: int
    failed_per_minute: int
    seconds_to_drain: float | None

    @computed_field  # type: ignore[prop-decorator] # mypy knows no decorator above a property
    @property
    def pending(self) -> int:
        """What waits to run."""
        return (self.ready or 0) + self.outbox_pending


def total_load(loads: Iterable[LoadReport], *, broker_answers: bool) -> LoadReport:
    """The sum of loads; the oldest is the oldest of all. No time to drain yet."""
    loads = list(loads)
    return LoadReport(
        ready=sum(load.ready or 0 for load in loads) if broker_answers else None,
        unacknowledged=sum(load.unacknowledged or 0 for load in loads) if broker_answers else None,
        scheduled=sum(load.scheduled for load in loads),
        outbox_pending=sum(load.outbox_pending for load in loads),
        oldest_seconds=max((load.oldest_seconds for load in loads if load.oldest_seconds is not None), default=None),
        in_per_minute=sum(load.in_per_minute for load in loads),
        out_per_minute=sum(load.out_per_minute for load in loads),
        failed_per_minute=sum(load.failed_per_minute for load in loads),
        seconds_to_drain=None,
    )


def time_to_drain(load: LoadReport, limit_per_second: float | None, *, is_served: bool) -> float | None:
    """Seconds until all pending tasks have ended; None when none ends.

    A task with a rate limit goes out at that rate when a worker serves it. Once tasks have waited for a minute, the
    rate of that minute is used instead: the workers may be slower than the limit.
    """
    if load.pending == 0:
        return 0.0
    per_second = load.out_per_minute / 60
    if limit_per_second is not None:
        # The number of a slower task's starts in a minute is too small to be a rate.
        is_measured = (load.oldest_seconds or 0) >= 60 and limit_per_second >= 0.1  # noqa: PLR2004 - as above
        if not is_measured:
            per_second = limit_per_second if is_served else 0.0
    return load.pending / per_second if per_second else None


def slowest(times: Iterable[float | None]) -> float | None:
    """The longest of the times to drain; None as soon as one of them is."""
    longest = 0.0
    for seconds in times:
        if seconds is None:
            return None
        longest = max(longest, seconds)
    return longest
