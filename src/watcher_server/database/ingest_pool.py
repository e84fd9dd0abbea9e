"""The connections for what pipelines send with each run: one statement, one round trip, autocommit.

They do what psycopg's do, with less of the processor: a start spent more of it on the way to PostgreSQL and back than
on everything else that the api does for it.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, TypeVar

from psycopg import AsyncConnection, adapt
from psycopg.abc import PQGen, Transformer
from psycopg.adapt import PyFormat
from psycopg.errors import InternalError, OperationalError, ReadOnlySqlTransaction, error_from_result
from psycopg.generators import execute
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.rows import TupleRow
from psycopg.waiting import Ready, Wait
from psycopg_pool import AsyncConnectionPool, PoolTimeout

RV = TypeVar("RV")

# As plain numbers: comparing members of an enumeration takes several times as long.
_FINE = (int(ExecStatus.TUPLES_OK), int(ExecStatus.COMMAND_OK))
_TO_READ, _TO_WRITE = int(Wait.R), int(Wait.W)
_IDLE = int(TransactionStatus.IDLE)

# So often a connection goes from one request to the next. Then psycopg's pool looks at its age.
_MOST_HANDED_ON = 1_000
# A connection that nobody needs goes back to psycopg's pool after this time.
_SPARE_SECONDS = 1.0
_CANCEL_SECONDS = 5.0


class IngestConnection(AsyncConnection[TupleRow]):
    """A connection that prepares each of Watcher's statements once.

    psycopg prepares one for each combination of the types of its parameters, where None is a type of its own. Here all
    parameters but bytes go as text, and PostgreSQL knows their types from the statement.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.handed_on = 0
        self._names: dict[bytes, bytes] = {}
        self._transformer: Transformer | None = None

    async def fetch_first(self, sql: bytes, values: Sequence[Any]) -> TupleRow | None:
        """The first row of a statement, whose places are numbered."""
        name = self._names.get(sql) or await self._prepare(sql)
        # Made late, because it takes over the adapters that the pool configures.
        transformer = self._transformer = self._transformer or adapt.Transformer.from_context(self)
        sent = transformer.dump_sequence(values, [_format(value) for value in values])
        self.pgconn.send_query_prepared(name, sent, transformer.formats)
        result = await self._result()
        if not result.ntuples:
            return None
        transformer.set_pgresult(result)
        row: TupleRow = transformer.load_row(0, tuple)
        return row

    async def _prepare(self, sql: bytes) -> bytes:
        name = b"watcher_%d" % len(self._names)
        self.pgconn.send_prepare(name, sql)
        await self._result()
        self._names[sql] = name
        return name

    async def _result(self) -> Any:
        result = (await self.wait(execute(self.pgconn)))[-1]
        status = result.status
        if status not in _FINE:
            if status == ExecStatus.FATAL_ERROR:
                raise error_from_result(result, encoding=self.info.encoding)
            raise InternalError(f"unexpected result status: {status}")
        return result

    async def wait(
        self,
        gen: PQGen[RV],
        interval: float = 0.1,
        timeout: float | None = None,  # noqa: ASYNC109 - psycopg's
    ) -> RV:
        """Have psycopg's generator run to its end.

        As psycopg does it, but for its timer: nothing interrupts an event loop but the loop itself.
        """
        if timeout is not None:
            return await super().wait(gen, interval, timeout)
        try:
            wanted = next(gen)
            loop, socket = asyncio.get_running_loop(), self.pgconn.socket
            while True:
                ready = loop.create_future()
                if wanted & _TO_READ:
                    loop.add_reader(socket, _tell, ready, Ready.R)
                if wanted & _TO_WRITE:
                    loop.add_writer(socket, _tell, ready, Ready.W)
                try:
                    found = await ready
                finally:
                    if wanted & _TO_READ:
                        loop.remove_reader(socket)
                    if wanted & _TO_WRITE:
                        loop.remove_writer(socket)
                wanted = gen.send(found)
        except StopIteration as end:
            value: RV = end.value
            return value
        except asyncio.CancelledError:
            await self._give_up()
            raise
        except OSError as error:
            raise OperationalError("The connection was lost.") from error

    async def _give_up(self) -> None:
        """Close the connection: the answer to this statement would be taken for that to the next one."""
        if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
            try:
                await self.cancel_safe(timeout=_CANCEL_SECONDS)
            finally:
                self.pgconn.finish()


def _format(value: object) -> PyFormat:
    # As text, bytes take twice the room, and events of OpenLineage may be megabytes.
    kind = type(value)
    is_bytes = kind is bytes or (kind is list and bool(value) and type(value[0]) is bytes)  # type: ignore[index]
    return PyFormat.BINARY if is_bytes else PyFormat.TEXT


def _tell(ready: asyncio.Future[Ready], found: Ready) -> None:
    if not ready.done():
        ready.set_result(found)


class IngestPool(AsyncConnectionPool[IngestConnection]):
    """A pool that gives the connection of a request straight to the next one: giving it back and taking it cost more.

    At most ``max_size`` requests have a turn, and so a connection. The others wait in the order in which they came.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._turns = self.max_size
        self._queue: deque[asyncio.Future[IngestConnection | None]] = deque()
        self._spare: list[IngestConnection] = []
        self._timed_out = self._handed_on = 0

    def connection(self, timeout: float | None = None) -> "_Use":  # type: ignore[override]
        """A connection for the length of a block.

        One whose server has become read-only is closed then, and so replaced: the next may find its successor.
        """
        return _Use(self, self.timeout if timeout is None else timeout)

    def get_stats(self) -> dict[str, int]:
        """The statistics as psycopg names them, with the requests that it did not see."""
        stats = super().get_stats()
        own = {"requests_num": self._handed_on + self._timed_out, "requests_errors": self._timed_out}
        own |= {"requests_waiting": len(self._queue), "pool_available": len(self._spare)}
        return {**stats, **{name: stats.get(name, 0) + number for name, number in own.items()}}

    async def take(self, seconds: float) -> IngestConnection:
        """A connection that :meth:`give_back` takes. Raises PoolTimeout: none became free within so many seconds."""
        connection = None
        if self._turns:
            self._turns -= 1
            connection = self._spare.pop() if self._spare else None
        else:
            loop = asyncio.get_running_loop()
            asked_at = loop.time()
            connection = await self._wait_for_turn(seconds)
            seconds -= loop.time() - asked_at
        if connection is not None:
            self._handed_on += 1
            return connection
        try:
            return await self.getconn(seconds)
        except BaseException:
            self._pass_turn()
            raise

    async def _wait_for_turn(self, seconds: float) -> IngestConnection | None:
        """The connection of a request that has ended; None for its turn alone."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[IngestConnection | None] = loop.create_future()
        self._queue.append(turn)
        timer = loop.call_later(seconds, self._time_out, turn, seconds)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                with suppress(ValueError):
                    self._queue.remove(turn)
            elif turn.exception() is None:
                connection = turn.result()
                if connection is None:
                    self._pass_turn()
                else:
                    await self.give_back(connection)
            raise
        finally:
            timer.cancel()

    def _time_out(self, turn: asyncio.Future[IngestConnection | None], seconds: float) -> None:
        if not turn.done():
            self._queue.remove(turn)
            self._timed_out += 1
            turn.set_exception(PoolTimeout(f"couldn't get a connection after {seconds:.2f} sec"))

    async def give_back(self, connection: IngestConnection) -> None:
        """Have others use a connection that :meth:`take` gave."""
        is_idle = connection.pgconn.transaction_status == _IDLE
        if is_idle and connection.handed_on < _MOST_HANDED_ON and not self.closed:
            connection.handed_on += 1
            if turn := self._next():
                turn.set_result(connection)
            else:
                self._keep(connection)
            return
        connection.handed_on = 0
        try:
            await self.putconn(connection)
        finally:
            self._pass_turn()

    def _keep(self, connection: IngestConnection) -> None:
        self._turns += 1
        if not self._spare:
            asyncio.get_running_loop().call_later(_SPARE_SECONDS, self._sweep)
        self._spare.append(connection)

    def _sweep(self) -> None:
        self._sweeping = asyncio.create_task(self._put_back_spare(), name="ingest-pool")

    async def _put_back_spare(self) -> None:
        spare, self._spare = self._spare, []
        for connection in spare:
            connection.handed_on = 0
            await self.putconn(connection)

    async def check(self) -> None:
        """Replace the idle connections that were lost, as psycopg does."""
        await self._put_back_spare()
        await super().check()

    async def close(self, timeout: float = 5.0) -> None:  # noqa: ASYNC109 - psycopg's
        """Close all connections, as psycopg does."""
        await self._put_back_spare()
        await super().close(timeout)

    def _pass_turn(self) -> None:
        if turn := self._next():
            turn.set_result(None)
        else:
            self._turns += 1

    def _next(self) -> "asyncio.Future[IngestConnection | None] | None":
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                return turn
        return None


class _Use:
    """The block in which a request has a connection."""

    __slots__ = ("_connection", "_pool", "_timeout")

    def __init__(self, pool: IngestPool, timeout: float) -> None:
        self._pool = pool
        self._timeout = timeout

    async def __aenter__(self) -> IngestConnection:
        self._connection = await self._pool.take(self._timeout)
        return self._connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, ReadOnlySqlTransaction):
            await self._connection.close()
        await self._pool.give_back(self._connection)
