"""What a worker reads from the broker: a message that cannot be read is dropped and does not end the worker.

Any program that reaches the broker may write to it, and Celery's worker ends on the first message that is no JSON. If a
task of Watcher is dropped, the keeper finds that it was published and waits in no queue, and sends it again.
"""

import logging
from collections.abc import Callable
from functools import partial
from queue import Empty
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, redis
from kombu.transport.virtual import Message

from watcher_server.tasking.wire import QUEUES

logger = logging.getLogger(__name__)


class ReadableMessage(Message):
    """A message of the broker.

    Raises:
        ValueError, TypeError, LookupError, AttributeError, RecursionError: it is no task that Celery can run.
    """

    def __init__(self, payload: Any, channel: Any = None, **options: Any) -> None:
        # A task's arguments are a few kilobytes; a closure of 100,000 addresses takes one megabyte.
        if len(payload.get("body") or "") > 16 * 1024 * 1024:
            raise ValueError("the body is too large")
        super().__init__(payload, channel=channel, **options)
        if self.errors:
            raise ValueError("the body cannot be decompressed")
        # Workers also hear of remote commands and of each other, in messages of other shapes.
        if self.delivery_info.get("exchange") in {"", None, *QUEUES}:
            _check_task(self.headers, self.decode())


def _check_task(headers: dict[str, Any], body: Any) -> None:
    # Celery's second protocol has the task in the headers, its first one in the body.
    about = headers if "task" in headers else body
    if not isinstance(about["task"], str) or not isinstance(about["id"], str):
        raise TypeError("the task and its id are text")
    args, kwargs = (body[0], body[1]) if about is headers else (body.get("args", []), body.get("kwargs", {}))
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise TypeError("the arguments are a list and an object")


class ReadableChannel(redis.Channel):
    """A channel that drops what cannot be read."""

    Message = ReadableMessage
    connection_errors: tuple[type[Exception], ...]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.handlers = {command: partial(self._read, handler) for command, handler in self.handlers.items()}

    def _read(self, handler: Callable[[], Any]) -> Any:
        held = set(self.qos._delivered or ())  # noqa: SLF001 - the only record of what this channel holds
        # kombu counts KeyError among the errors of a connection; a message without its keys raises it.
        of_the_broker: tuple[type[Exception], ...] = (
            Empty,
            self.ResponseError,
            *{*self.connection_errors} - {KeyError},
        )
        try:
            return handler()
        except of_the_broker:
            raise
        except Exception as error:  # noqa: BLE001 - any other error comes from the message
            logger.error("A message that cannot be read was dropped: %s", type(error).__name__)  # noqa: TRY400 - its traceback shows the message
            for tag in set(self.qos._delivered or ()) - held:  # noqa: SLF001 - as above
                self.basic_reject(tag, requeue=False)
            return True


class ReadableTransport(redis.Transport):
    """Celery's transport for Redis, with that channel."""

    Channel = ReadableChannel


def install() -> None:
    """Have this process read messages this way, whatever kind of URL the broker has."""
    own = f"{__name__}:{ReadableTransport.__name__}"
    TRANSPORT_ALIASES.update(redis=own, rediss=own)
