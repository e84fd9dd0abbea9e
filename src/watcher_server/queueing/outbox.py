"""The outbox: tasks that a committed row calls for."""

from typing import Any

from sqlalchemy import Connection, insert
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.queueing.configuration import MAIN_QUEUE
from watcher_server.queueing.models import OutboxMessage


def _message(task_name: str, kwargs: dict[str, Any], queue: str) -> Any:
    return insert(OutboxMessage).values(task_name=task_name, kwargs=kwargs, queue=queue)


def enqueue(connection: Connection, task_name: str, queue: str = MAIN_QUEUE, **kwargs: Any) -> None:
    """Have the task run once the transaction of this connection has committed; at least once."""
    connection.execute(_message(task_name, kwargs, queue))


async def enqueue_async(session: AsyncSession, task_name: str, queue: str = MAIN_QUEUE, **kwargs: Any) -> None:
    """As :func:`enqueue`, in the transaction of a request."""
    await session.execute(_message(task_name, kwargs, queue))
