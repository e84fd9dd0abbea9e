"""Following one task: each change of its state or progress, as it happens."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine

from watcher_server.kit.errors import NotFoundError
from watcher_server.task_history.service import Task, find_task
from watcher_server.task_history.states import FINAL_STATES

_POLL_SECONDS = 0.5
# Who follows for longer connects again, as browsers do by themselves.
_LONGEST_SECONDS = 3600.0


async def read_task(engine: AsyncEngine, task_id: str) -> Task:
    """The task as it is now; the connection goes back to the pool at once.

    Raises:
        NotFoundError: there is no such task.
    """
    async with engine.connect() as connection:
        return await connection.run_sync(find_task, task_id)


async def follow_task(engine: AsyncEngine, first: Task, stopping: asyncio.Event) -> AsyncIterator[Task]:
    """The task as it was first read, then at each change of its state or meta.

    It ends after a final state, when the server stops or the task is no longer kept, and in any case after an hour.
    Between two looks it holds no connection.
    """
    shown = first
    yield first
    deadline = time.monotonic() + _LONGEST_SECONDS
    while shown.state not in FINAL_STATES and time.monotonic() < deadline and not await _stops(stopping):
        try:
            task = await read_task(engine, str(first.id))
        except NotFoundError:
            return
        except (DBAPIError, PoolTimeoutError):
            # The database is away or busy; the task goes on all the same, and is looked at again.
            continue
        if (task.state, task.meta) != (shown.state, shown.meta):
            shown = task
            yield task


async def _stops(stopping: asyncio.Event) -> bool:
    """Wait until the next look; whether the server stops meanwhile."""
    with suppress(TimeoutError):
        await asyncio.wait_for(stopping.wait(), _POLL_SECONDS)
    return stopping.is_set()
