"""Tasks of other programs that share the broker: set aside there, where their owner can fetch them."""

import logging
from typing import Any

from celery.worker.consumer import Consumer
from kombu import Producer

from watcher_server.tasking.wire import DUE_HEADER, FOREIGN_QUEUE
from watcher_server.tasking.workers import counters

logger = logging.getLogger(__name__)

# Names are those of other programs: one that makes them up must not fill the log.
_MOST_NAMES = 100


class WatcherConsumer(Consumer):
    """Celery's own, which throws a task away whose name it does not know, and reports its failure.

    A task that the relay has sent is Watcher's own, of a newer version: it fails, people are told, and it can be run
    again. Any other is not ours to fail.
    """

    connection_errors: tuple[type[Exception], ...]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._logged: set[str] = set()
        super().__init__(*arguments, **options)

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Set a foreign task aside."""
        if DUE_HEADER in message.headers:
            super().on_unknown_task(body, message, exc)
            return
        _publish_again(message)
        message.ack_log_error(logger, self.connection_errors)
        queue = message.delivery_info.get("routing_key") or "unknown"
        counters.FOREIGN.labels(self.hostname, queue).inc()
        name = str(exc.args[0])[:100]
        if name not in self._logged and len(self._logged) < _MOST_NAMES:
            self._logged.add(name)
            logger.warning(
                "%s in the queue %s is no task of Watcher: its messages wait in the queue %s. Give its program a "
                "broker database of its own.",
                *(name, queue, FOREIGN_QUEUE),
            )


def _publish_again(message: Any) -> None:
    """Write the message into the queue of foreign ones, as it is; if that raises, the broker delivers it again."""
    properties = message.properties
    Producer(message.channel, auto_declare=False).publish(
        message.body,
        routing_key=FOREIGN_QUEUE,
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        headers=message.headers,
        # It was decompressed when it was read.
        compression=message.headers.get("compression"),
        correlation_id=properties.get("correlation_id"),
        reply_to=properties.get("reply_to"),
        retry=False,
    )
