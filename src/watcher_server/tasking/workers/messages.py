"""What a worker reads from the broker: a message that cannot be read is dropped and does not end the worker.

Any program that reaches the broker may write to it, and Celery's worker ends on the first message that is no JSON. If a
task of Watcher is dropped, the keeper finds that it was published and waits in no queue, and sends it again.
"""

import logging
from collections.abc import Callable
from functools import partial
from queue import Empty
from typing import TYPE_CHECKING, Any

from kombu.transport import TRANSPORT_ALIASES, redis
from kombu.transport.virtual import Message

from watcher_server.tasking.wire import QUEUES

logger = logging.getLogger(__name__)

# How Valkey and Redis begin what they answer while their disk is full. Reading a queue is writing to it.
_REFUSES_WRITES = "MISCONF"


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


if TYPE_CHECKING:
    _Channel = redis.Channel
else:
    _Channel = object


class _Readable(_Channel):
    """What makes a channel drop what cannot be read."""

    Message = ReadableMessage
    connection_errors: tuple[type[Exception], ...]
    _shared: Any = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.handlers = {command: partial(self._read, handler) for command, handler in self.handlers.items()}

    def _create_client(self, asynchronous: bool = False) -> Any:  # noqa: FBT002 - kombu's signature
        """The client that all short commands share. kombu makes one for each of them, with a table of 170 commands."""
        if asynchronous:
            return super()._create_client(asynchronous=True)  # type: ignore[misc]
        if self._shared is None or self._shared.connection_pool is not self.pool:
            self._shared = super()._create_client()  # type: ignore[misc]
        return self._shared

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
        except of_the_broker as error:
            if str(error).startswith(_REFUSES_WRITES):
                # Else an error that ends the worker.
                raise ConnectionError(f"the broker cannot write: {error}") from error
            raise
        except Exception as error:  # noqa: BLE001 - any other error comes from the message
            logger.error("A message that cannot be read was dropped: %s", type(error).__name__)  # noqa: TRY400 - its traceback shows the message
            for tag in set(self.qos._delivered or ()) - held:  # noqa: SLF001 - as above
                self.basic_reject(tag, requeue=False)
            return True


class _ReadableChannel(_Readable, redis.Channel):
    pass


class _ReadableSentinelChannel(_Readable, redis.SentinelChannel):
    pass


class ReadableTransport(redis.Transport):
    """Celery's transport for Redis, with channels that drop what cannot be read."""

    Channel = _ReadableChannel


class ReadableSentinelTransport(redis.SentinelTransport):
    """The same for a primary that Sentinels know."""

    Channel = _ReadableSentinelChannel


def install() -> None:
    """Have this process read messages this way, whatever kind of URL the broker has."""
    own = f"{__name__}:{ReadableTransport.__name__}"
    TRANSPORT_ALIASES.update(redis=own, rediss=own, sentinel=f"{__name__}:{ReadableSentinelTransport.__name__}")
