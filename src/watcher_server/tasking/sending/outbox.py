"""The outbox: tasks that a committed row calls for."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.tasking.models import OutboxMessage
from watcher_server.tasking.wire import MAIN_QUEUE, WAKE_CHANNEL
from watcher_server.telemetry.context import current_context


def _message(task_name: str, kwargs: Mapping[str, Any], queue: str, **columns: Any) -> Any:
    """One statement for one round trip: it writes the row and notifies the relays once it is committed.

    The start and the end of an execution do not notify, because PostgreSQL commits notifying transactions one after
    the other. Their api process wakes its own relay.
    """
    values = {"task_name": task_name, "kwargs": dict(kwargs), "queue": queue, **columns}
    context = current_context()
    if context:
        values["context"] = context
    row = insert(OutboxMessage).values(values).returning(OutboxMessage.task_id).cte("message")
    return select(row.c.task_id, func.pg_notify(WAKE_CHANNEL, ""))


def enqueue(connection: Connection, task_name: str, queue: str = MAIN_QUEUE, **kwargs: Any) -> None:
    """Have the task run once the transaction of this connection has committed; at least once."""
    connection.execute(_message(task_name, kwargs, queue))


async def enqueue_async(session: AsyncSession, task_name: str, queue: str = MAIN_QUEUE, **kwargs: Any) -> None:
    """As :func:`enqueue`, in the transaction of a request."""
    await session.execute(_message(task_name, kwargs, queue))


def enqueue_call(
    connection: Connection,
    task_name: str,
    kwargs: Mapping[str, Any],
    *,
    task_id: UUID,
    queue: str = MAIN_QUEUE,
    due_at: datetime | ColumnElement[datetime] | None = None,
    retries: int = 0,
    options: Mapping[str, Any] | None = None,
) -> None:
    """As :func:`enqueue`, for a call that has an id already, or that is for later.

    It is due now without ``due_at``; ``retries`` is how often it was tried before, ``options`` are Celery's, as JSON.
    """
    columns: dict[str, Any] = {"task_id": task_id, "retries": retries}
    if due_at is not None:
        columns["due_at"] = due_at
    if options:
        columns["options"] = dict(options)
    connection.execute(_message(task_name, kwargs, queue, **columns))
