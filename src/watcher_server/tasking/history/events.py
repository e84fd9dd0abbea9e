"""Following tasks: each change of a state or of progress, as it happens."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine

from watcher_server.kit.errors import NotFoundError
from watcher_server.tasking.history.reading import select_marks
from watcher_server.tasking.history.schemas import TaskDetail
from watcher_server.tasking.history.service import find_task
from watcher_server.tasking.history.states import FINAL_STATES

# A task's state, and a digest of its meta.
Mark = tuple[str, str | None]


@dataclass(eq=False)
class _Stream:
    """One follower of one task. ``latest`` is the task to show next; None ends the stream."""

    latest: TaskDetail | None
    woken: asyncio.Event = field(default_factory=asyncio.Event)


class TaskFollower:
    """Asks the database for all followed tasks at once, twice a second, and wakes the streams of those that changed.

    A thousand streams of one task cost the database what one costs. Without a follower nothing is asked.
    """

    def __init__(self, engine: AsyncEngine, stopping: asyncio.Event) -> None:
        self._engine = engine
        self._stopping = stopping
        self._streams: defaultdict[UUID, set[_Stream]] = defaultdict(set)
        self._marks: dict[UUID, Mark] = {}
        self._polling: asyncio.Task[None] | None = None

    async def read(self, task_id: str) -> TaskDetail:
        """The task as it is now; raises NotFoundError if there is none. The connection goes back at once."""
        async with self._engine.connect() as connection:
            return await connection.run_sync(find_task, task_id)

    async def follow(self, first: TaskDetail) -> AsyncGenerator[TaskDetail]:
        """The task as it was first read, then at each change of its state or meta.

        It ends after a final state, when the server stops or the task is no longer kept, and in any case after an hour.
        """
        # Browsers connect again by themselves.
        ends_at = time.monotonic() + 3600
        stream = _Stream(first)
        self._streams[first.id].add(stream)
        # It may have changed since it was read.
        self._marks.pop(first.id, None)
        if self._polling is None or self._polling.done():
            self._polling = asyncio.create_task(self._poll())
        try:
            shown = first
            yield first
            while shown.state not in FINAL_STATES:
                try:
                    await asyncio.wait_for(stream.woken.wait(), ends_at - time.monotonic())
                except TimeoutError:
                    return
                stream.woken.clear()
                task = stream.latest
                if task is None:
                    return
                if (task.state, task.meta) != (shown.state, shown.meta):
                    shown = task
                    yield task
        finally:
            self._streams[first.id].discard(stream)
            if not self._streams[first.id]:
                del self._streams[first.id]
                self._marks.pop(first.id, None)

    async def close(self) -> None:
        if self._polling is not None:
            self._polling.cancel()
            with suppress(asyncio.CancelledError):
                await self._polling

    async def _poll(self) -> None:
        try:
            while self._streams and not await self._stops():
                # When the database is away or busy, the tasks go on, and the next look tells what became of them.
                with suppress(DBAPIError, PoolTimeoutError):
                    async with self._engine.connect() as connection:
                        await connection.run_sync(self._look)
        finally:
            for task_id in self._streams:
                self._tell(task_id, None)

    async def _stops(self) -> bool:
        """Wait until the next look; whether the server stops meanwhile."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), 0.5)
        return self._stopping.is_set()

    def _look(self, connection: Connection) -> None:
        marks = {row.id: (row.state, row.digest) for row in connection.execute(select_marks(list(self._streams)))}
        for task_id in list(self._streams):
            if task_id not in marks:
                self._tell(task_id, None)
            elif marks[task_id] != self._marks.get(task_id):
                self._marks[task_id] = marks[task_id]
                try:
                    self._tell(task_id, find_task(connection, str(task_id)))
                except NotFoundError:
                    self._tell(task_id, None)

    def _tell(self, task_id: UUID, task: TaskDetail | None) -> None:
        for stream in self._streams.get(task_id, ()):
            stream.latest = task
            stream.woken.set()
