"""The keeper's look at the queues: one measurement for the samples and the alerts of the same moment."""

import time
from datetime import UTC, datetime

from sqlalchemy import Connection

from watcher_server.queue_monitor.alerts import raise_queue_alerts
from watcher_server.queue_monitor.depths import QueueState, measure_queues
from watcher_server.queue_monitor.history import start_of_minute, store_samples
from watcher_server.settings import Settings

# Between duties of one round lies less.
_SAME_MOMENT_SECONDS = 5.0


class QueueWatch:
    """Measures the queues; not again for who asks within the same moment."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._measured: tuple[float, QueueState] | None = None

    def sample(self, connection: Connection) -> None:
        """Store how deep each queue is in this minute."""
        began_at = datetime.now(UTC)
        store_samples(connection, self._measure(connection), began_at)

    def alert(self, connection: Connection) -> int:
        """Alert each queue whose level changed; how many alerts."""
        return raise_queue_alerts(connection, self._measure(connection), self._settings)

    def _measure(self, connection: Connection) -> QueueState:
        if self._measured is not None and time.monotonic() - self._measured[0] < _SAME_MOMENT_SECONDS:
            return self._measured[1]
        state = measure_queues(connection, self._settings)
        self._measured = time.monotonic(), state
        return state


def is_another_minute(since: datetime, moment: datetime) -> bool:
    """Whether the two moments lie in different full minutes, whichever comes first: clocks are put back too."""
    return start_of_minute(moment) != start_of_minute(since)
