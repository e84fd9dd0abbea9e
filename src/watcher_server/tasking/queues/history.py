"""How deep the queues were: a sample of each queue per minute, kept for a week, thinned for charts."""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, RowMapping, delete, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.kit.fields import ResponseBody
from watcher_server.settings import Settings
from watcher_server.tasking.models import QueueDepthSample
from watcher_server.tasking.queues.depths import QueueState
from watcher_server.tasking.queues.levels import thresholds
from watcher_server.tasking.wire import QUEUES

KEPT_HOURS = 7 * 24


class QueueSeriesReport(ResponseBody):
    """What was in a queue, in tasks, a number for each moment: the highest until the next moment.

    ``pending`` is ``ready`` and ``outbox_pending`` together; ``oldest_seconds`` is 0 when nothing waited. A number is
    null where no sample was taken, and where the broker did not answer.
    """

    pending: Sequence[int | None]
    ready: Sequence[int | None]
    unacknowledged: Sequence[int | None]
    scheduled: Sequence[int | None]
    outbox_pending: Sequence[int | None]
    oldest_seconds: Sequence[float | None]


class QueueHistoryReport(ResponseBody):
    """How deep the queues were: columns for a chart.

    ``sampled_at`` are moments in epoch seconds, equally far apart, the oldest first. ``queues`` has Watcher's own two
    first, and is empty before the first sample. ``thresholds`` has the lowest number of pending tasks for each of the
    levels ``info``, ``warning`` and ``critical``.
    """

    sampled_at: Sequence[int]
    queues: Mapping[str, QueueSeriesReport]
    thresholds: Mapping[str, int]


def start_of_minute(moment: datetime) -> datetime:
    """The full minute in which a moment lies."""
    return moment.replace(second=0, microsecond=0)


def store_samples(connection: Connection, state: QueueState, moment: datetime) -> None:
    """Store what was measured as the samples of that minute, and delete those of more than a week before.

    A queue that has a sample of the minute keeps it.
    """
    minute = start_of_minute(moment)
    numbers = {"ready", "unacknowledged", "scheduled", "outbox_pending"}
    samples = [
        {
            "sampled_at": minute,
            "queue": queue,
            "oldest_seconds": load.oldest_seconds or 0.0,
            **load.model_dump(include=numbers),
        }
        for queue, load in state.queues.items()
    ]
    connection.execute(insert(QueueDepthSample).on_conflict_do_nothing(), samples)
    # By the primary key, which begins with the moment.
    too_old = QueueDepthSample.sampled_at < minute - timedelta(hours=KEPT_HOURS)
    connection.execute(delete(QueueDepthSample).where(too_old))


async def read_history(session: AsyncSession, hours: int, settings: Settings) -> QueueHistoryReport:
    """How deep the queues were in the last hours, 1 to 168, at 360 moments at most."""
    moments = _moments(datetime.now(UTC), hours)
    values = {"first": moments[0], "last": moments[-1], "step": moments.step}
    rows: dict[str, dict[int, RowMapping]] = {}
    # A range of the primary key, which begins with the moment: a week of two queues is 20,000 rows. While the broker is
    # away ``ready`` is null, and so is ``pending``.
    statement = """
        SELECT queue, CAST(extract(epoch FROM sampled_at) AS bigint) / :step * :step AS moment,
            max(ready + outbox_pending) AS pending, max(ready) AS ready, max(unacknowledged) AS unacknowledged,
            max(scheduled) AS scheduled, max(outbox_pending) AS outbox_pending, max(oldest_seconds) AS oldest_seconds
        FROM queue_depth_sample
        WHERE sampled_at >= to_timestamp(:first) AND sampled_at < to_timestamp(:last + :step)
        GROUP BY queue, moment
    """
    for row in (await session.execute(text(statement), values)).mappings():
        rows.setdefault(row["queue"], {})[row["moment"]] = row
    own_first = sorted(rows, key=lambda queue: (QUEUES.index(queue) if queue in QUEUES else len(QUEUES), queue))
    return QueueHistoryReport(
        sampled_at=moments,
        queues={queue: _series(rows[queue], moments) for queue in own_first},
        thresholds={level.lower(): number for level, number in thresholds(settings).items()},
    )


def _moments(now: datetime, hours: int) -> range:
    """Where the parts of the last hours begin, in epoch seconds: at multiples of the step, so two requests agree."""
    # Whole minutes, and no more points than a chart of the usual width can show.
    step = math.ceil(hours * 60 / 360) * 60
    points = math.ceil(hours * 3600 / step)
    last = int(now.timestamp()) // step * step
    return range(last - (points - 1) * step, last + step, step)


def _series(rows: Mapping[int, RowMapping], moments: Iterable[int]) -> QueueSeriesReport:
    found = [rows.get(moment) for moment in moments]
    names = QueueSeriesReport.model_fields
    return QueueSeriesReport(**{name: [None if row is None else row[name] for row in found] for name in names})
