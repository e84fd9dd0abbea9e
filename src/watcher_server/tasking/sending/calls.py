"""From a call such as ``task.delay(…)`` to a row of the outbox."""

import inspect
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func
from sqlalchemy.exc import DataError

from watcher_server.database.engine import sync_engine
from watcher_server.tasking.sending.outbox import enqueue_call
from watcher_server.tasking.wire import MAIN_QUEUE

# The options of a call, a retry or a signature that the relay hands on to Celery. The others say how to reach the
# broker, which the relay knows, or are filled in again.
_HANDED_ON = (
    "link",
    "link_error",
    "chord",
    "chain",
    "group_id",
    "group_index",
    "root_id",
    "parent_id",
    "expires",
    "priority",
    "shadow",
    "time_limit",
    "soft_time_limit",
    "replaced_task_nesting",
)


class ArgumentError(TypeError):
    """The arguments, or an option, cannot be stored as JSON by PostgreSQL, such as a text with a NUL in it."""


def task_uuid(task_id: str) -> UUID | None:
    """The id; None for a chosen id that is no UUID. Such a task runs, and the history does not keep it."""
    try:
        return UUID(str(task_id))
    except ValueError:
        return None


def send_through_outbox(task: Any, args: Any, kwargs: Any, task_id: str, options: Mapping[str, Any]) -> str:
    """Store the call; the task's id.

    Raises TypeError if the arguments are not those of the task, and as ArgumentError if they are no JSON;
    sqlalchemy.exc.OperationalError if the database cannot be reached.
    """
    named = named_arguments(task, args, kwargs)
    identity = UUID(task_id)
    queue = options.get("queue") or options.get("routing_key") or getattr(task, "queue", None) or MAIN_QUEUE
    try:
        with sync_engine().begin() as connection:
            enqueue_call(
                connection,
                task.name,
                named,
                task_id=identity,
                queue=str(getattr(queue, "name", queue)),
                due_at=due_moment(options),
                retries=options.get("retries") or 0,
                options=_options(options, identity),
            )
    except DataError as error:
        reason = str(error.orig).partition("\n")[0]
        raise ArgumentError(f"The arguments of {task.name} cannot be stored as JSON: {reason}") from error
    return str(identity)


def named_arguments(task: Any, args: Any, kwargs: Any) -> dict[str, Any]:
    """The arguments by name, as history and filters know them."""
    signature = inspect.signature(getattr(task, "_orig_run", task.run))
    return dict(signature.bind(*(args or ()), **(kwargs or {})).arguments)


def due_moment(options: Mapping[str, Any]) -> datetime | ColumnElement[datetime] | None:
    """When a call with these options is due; None is now."""
    countdown, eta = options.get("countdown"), options.get("eta")
    if countdown is not None:
        # By the database's clock, which also decides when it is due.
        return func.now() + timedelta(seconds=float(countdown))
    if isinstance(eta, str):
        eta = datetime.fromisoformat(eta)
    if isinstance(eta, datetime):
        return eta if eta.tzinfo else eta.replace(tzinfo=UTC)
    return None


def _options(options: Mapping[str, Any], identity: UUID) -> dict[str, Any]:
    given = {name: options[name] for name in _HANDED_ON if options.get(name)}
    if given.get("root_id") == str(identity):
        del given["root_id"]
    expires = given.get("expires")
    if isinstance(expires, int | float):
        given["expires"] = datetime.now(UTC) + timedelta(seconds=expires)
    # Signatures are dictionaries. Moments become text, as Celery writes them.
    return dict(json.loads(json.dumps(given, default=_as_json)))


def _as_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, set | tuple):
        return list(value)
    raise ArgumentError(f"{type(value).__name__} is no JSON, so it cannot be sent with a task.")
