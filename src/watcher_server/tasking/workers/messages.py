"""What a worker reads from the broker, and what it tells it of that.

A message that cannot be read is dropped and does not end the worker.

Any program that reaches the broker may write to it, and Celery's worker ends on the first message that is no JSON. If a
task of Watcher is dropped, the keeper finds that it was published and waits in no queue, and sends it again.
"""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import Empty
from typing import TYPE_CHECKING, Any

from kombu.asynchronous import get_event_loop
from kombu.transport import TRANSPORT_ALIASES, redis
from kombu.transport.virtual import Message
from kombu.transport.virtual import QoS as VirtualQoS
from kombu.utils.json import dumps

from watcher_server.tasking.wire import QUEUES
from watcher_server.tasking.workers.stopping import is_stopping

logger = logging.getLogger(__name__)

# How Valkey and Redis begin what they answer while their disk is full. Reading a queue is writing to it.
_REFUSES_WRITES = "MISCONF"


class ReadableMessage(Message):
    """A message of the broker.

    Raises ValueError, TypeError, LookupError, AttributeError or RecursionError if it is no task that Celery can run.
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


# What the worker holds is written down in the broker, with the moment at which it took it. Both are done at once, or
# neither: what only one of them has is never given to another worker.
_TELL = """
for i = 4, #ARGV do
    redis.call('ZREM', KEYS[1], ARGV[i])
    redis.call('HDEL', KEYS[2], ARGV[i])
end
if ARGV[1] ~= '' then
    redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
    redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
end
"""
_TOLD_AFTER_SECONDS = 0.05


class CombiningQoS(redis.QoS):
    """kombu's record of what a channel holds, which tells the broker of an end together with the next message.

    kombu waits for the broker after each message that it takes, and again after each acknowledgement; here it waits
    once for both. An acknowledgement waits 0.05 s at most for the next message. Should the worker be killed meanwhile,
    the broker gives the message to another, which finds that the task has succeeded.
    """

    channel: Any
    _delivered: Any

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._ended: list[str] = []
        self._timer: Any = None
        self._line: Any = None

    def append(self, message: Any, delivery_tag: str) -> None:
        """Write down that this channel holds the message, and forget those that have ended."""
        about = message.delivery_info
        held = dumps([message._raw, about["exchange"], about["routing_key"]])  # noqa: SLF001 - as kombu does
        self._tell(delivery_tag, time.time(), held)
        VirtualQoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Forget the message, with the next one that is taken or soon."""
        self._ended.append(delivery_tag)
        VirtualQoS.ack(self, delivery_tag)
        hub = get_event_loop()
        if hub is None or is_stopping():
            self._tell_ends()
        elif self._timer is None:
            self._timer = hub.call_later(_TOLD_AFTER_SECONDS, self._on_time)

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Give back what this channel holds, at its end."""
        if self._timer is not None:
            self._timer.cancel()
        with suppress(*self.channel.connection_errors):
            self._tell_ends()
        self._hang_up()
        super().restore_unacked_once(stderr)

    def _on_time(self) -> None:
        self._timer = None
        self._tell_ends()

    def _tell_ends(self) -> None:
        if self._ended:
            self._tell("", "", "")

    def _tell(self, tag: str, moment: float | str, held: str) -> None:
        ended, self._ended = self._ended, []
        prefix = self.channel.global_keyprefix
        keys = (f"{prefix}{self.unacked_index_key}", f"{prefix}{self.unacked_key}")
        command = ("EVAL", _TELL, 2, *keys, tag, moment, held, *ended)
        try:
            if self._line is None:
                self._line = self.channel.pool.get_connection()
            # redis-py's own way takes three times as long, most of it for what it does when a try fails.
            self._line.send_command(*command)
            self._line.read_response()
        except self.channel.connection_errors:
            # Over another connection, with what redis-py does then. To do it twice changes nothing.
            self._hang_up()
            self.channel._create_client().execute_command(*command)  # noqa: SLF001 - kombu's own client
        except BaseException:
            # Else its answer would be taken for that to the next command.
            self._hang_up()
            raise

    def _hang_up(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.disconnect()
            self.channel.pool.release(line)


if TYPE_CHECKING:
    _Channel = redis.Channel
else:
    _Channel = object


class _Readable(_Channel):
    """What makes a channel drop what cannot be read."""

    Message = ReadableMessage
    QoS = CombiningQoS
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
