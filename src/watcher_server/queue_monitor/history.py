"""How deep the queues were: a sample of each queue per minute, kept for a week, thinned for charts."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, RowMapping, delete, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.queue_monitor.depths import QueueState
from watcher_server.queue_monitor.load import Load
from watcher_server.queue_monitor.models import QueueDepthSample
from watcher_server.queueing.configuration import QUEUES
from watcher_server.settings import Settings

KEPT_HOURS = 7 * 24

# A chart is seldom wider than so many points that can be told apart.
_MOST_POINTS = 360
_MINUTE_SECONDS = 60
_HOUR_SECONDS = 3600


@dataclass(frozen=True)
class QueueSeries:
    """What was in one queue, in tasks, a number for each moment of the history: the highest until the next moment.

    ``pending`` is what the thresholds are about, ``ready`` and ``outbox_pending`` together; ``oldest_seconds`` is how
    long the oldest had waited, 0 when none did. None is what nobody measured, or the broker did not answer.
    """

    pending: Sequence[int | None]
    ready: Sequence[int | None]
    unacknowledged: Sequence[int | None]
    scheduled: Sequence[int | None]
    outbox_pending: Sequence[int | None]
    oldest_seconds: Sequence[float | None]


@dataclass(frozen=True)
class QueueHistory:
    """How deep the queues were; ``sampled_at`` are moments in epoch seconds, equally far apart, the oldest first.

    ``queues`` has Watcher's own two first, and is empty before the first sample. ``thresholds`` has from how many
    pending tasks on a queue is at the levels ``info``, ``warning`` and ``critical``.
    """

    sampled_at: Sequence[int]
    queues: Mapping[str, QueueSeries]
    thresholds: Mapping[str, int]


def start_of_minute(moment: datetime) -> datetime:
    """The full minute in which a moment lies."""
    return moment.replace(second=0, microsecond=0)


def store_samples(connection: Connection, state: QueueState, moment: datetime) -> None:
    """Keep what was measured as the samples of that minute, and forget those of more than a week before.

    A queue that has one for the minute keeps it: of two who measure, one writes.
    """
    minute = start_of_minute(moment)
    samples = [_sample(minute, queue, load) for queue, load in state.queues.items()]
    connection.execute(insert(QueueDepthSample).on_conflict_do_nothing(), samples)
    # By the primary key, which begins with the moment.
    too_old = QueueDepthSample.sampled_at < minute - timedelta(hours=KEPT_HOURS)
    connection.execute(delete(QueueDepthSample).where(too_old))


def _sample(minute: datetime, queue: str, load: Load) -> dict[str, Any]:
    return {
        "sampled_at": minute,
        "queue": queue,
        "ready": load.ready,
        "unacknowledged": load.unacknowledged,
        "scheduled": load.scheduled,
        "outbox_pending": load.outbox_pending,
        "oldest_seconds": load.oldest_seconds or 0.0,
    }


# A range of the primary key, which begins with the moment: a week of two queues is 20,000 rows. What is pending is
# not known while the broker is away, and then null as its part of it is.
_READ = """
SELECT queue, CAST(extract(epoch FROM sampled_at) AS bigint) / :step * :step AS moment,
    max(ready + outbox_pending) AS pending, max(ready) AS ready, max(unacknowledged) AS unacknowledged,
    max(scheduled) AS scheduled, max(outbox_pending) AS outbox_pending, max(oldest_seconds) AS oldest_seconds
FROM queue_depth_sample
WHERE sampled_at >= to_timestamp(:first) AND sampled_at < to_timestamp(:last + :step)
GROUP BY queue, moment
"""


async def read_history(session: AsyncSession, hours: int, settings: Settings) -> QueueHistory:
    """How deep the queues were in the last hours, 1 to 168, at 360 moments at most."""
    moments = _moments(datetime.now(UTC), hours)
    values = {"first": moments[0], "last": moments[-1], "step": moments.step}
    rows: dict[str, dict[int, RowMapping]] = {}
    for row in (await session.execute(text(_READ), values)).mappings():
        rows.setdefault(row["queue"], {})[row["moment"]] = row
    return QueueHistory(
        sampled_at=moments,
        queues={queue: _series(rows[queue], moments) for queue in _own_first(rows)},
        thresholds={
            "info": settings.queue_alert_info,
            "warning": settings.queue_alert_warning,
            "critical": settings.queue_alert_critical,
        },
    )


def _moments(now: datetime, hours: int) -> range:
    """Where the parts of the last hours begin, in epoch seconds. They lie alike whenever they are asked for."""
    step = math.ceil(hours * _HOUR_SECONDS / _MOST_POINTS / _MINUTE_SECONDS) * _MINUTE_SECONDS
    points = math.ceil(hours * _HOUR_SECONDS / step)
    last = int(now.timestamp()) // step * step
    return range(last - (points - 1) * step, last + step, step)


def _series(rows: Mapping[int, RowMapping], moments: Iterable[int]) -> QueueSeries:
    found = [rows.get(moment) for moment in moments]

    def column(name: str) -> list[Any]:
        return [None if row is None else row[name] for row in found]

    return QueueSeries(
        pending=column("pending"),
        ready=column("ready"),
        unacknowledged=column("unacknowledged"),
        scheduled=column("scheduled"),
        outbox_pending=column("outbox_pending"),
        oldest_seconds=column("oldest_seconds"),
    )


def _own_first(queues: Iterable[str]) -> list[str]:
    return sorted(queues, key=lambda queue: (QUEUES.index(queue) if queue in QUEUES else len(QUEUES), queue))
