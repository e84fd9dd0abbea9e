"""Celery's result backend: the table ``task``.

Celery itself calls it for each change of a task's state, so the history, ``AsyncResult`` and ``GET /tasks/{id}``
always say the same, and reading them needs no worker.
"""

import logging
from typing import Any
from uuid import UUID

from celery import states
from celery.backends.base import BaseBackend
from celery.exceptions import Retry
from sqlalchemy import Connection, Row
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

from watcher_server.database.engine import sync_engine
from watcher_server.queueing.sending import named_arguments
from watcher_server.task_history.failures import alert_failure
from watcher_server.task_history.statements import BEGIN, FIND, FINISH, FORGET, INSERT, PROGRESS
from watcher_server.workers.identity import worker_id

logger = logging.getLogger(__name__)

_MOST_DEATHS = 5
_LONGEST_MESSAGE = 4_000
# What the column holds; anybody may write to the broker.
_MOST_RETRIES = 32_767
_STARTED = {"status": "Running...", "current_step": "Starting", "progress": 0}


class PoisonedTaskError(Exception):
    """The process that ran this task died again and again; running it once more would only kill another."""


class TaskBackend(BaseBackend):
    """Writes and reads the state of tasks.

    A database that is away does not fail a task that has done its work: the state is written when the task runs
    again, for a task whose end was not recorded is sent again.
    """

    app: Any
    # The keeper trims the history, so beat needs no task for it.
    supports_autoexpire = True

    def begin(self, request: Any, progress: dict[str, Any]) -> bool:
        """Record that a try starts, with its first progress; False when the task has succeeded before.

        Raises:
            PoisonedTaskError: the process that ran it has died too often.
        """
        values = {
            "id": _uuid(request.id),
            "worker_id": worker_id(),
            "retries": _retries(request),
            "meta": progress,
        }
        try:
            with _autocommit() as connection:
                deaths = self._begin(connection, request, values)
        except SQLAlchemyError as error:
            _warn(request.id, error)
            return True
        if deaths is not None and deaths >= _MOST_DEATHS:
            raise PoisonedTaskError(f"The process that ran this task died {deaths} times.")
        return deaths is not None

    def prepare_exception(self, exc: BaseException, serializer: str | None = None) -> dict[str, Any]:
        """An error as it is stored: its type, one clear line, and the module to rebuild it from."""
        del serializer
        cause = exc.orig if isinstance(exc, DBAPIError) and exc.orig is not None else exc
        message = str(cause).strip() or type(cause).__name__
        message = message if cause is exc else message.partition("\n")[0]
        return {
            "exc_type": type(exc).__name__,
            "exc_message": _storable(message)[:_LONGEST_MESSAGE],
            "exc_module": type(exc).__module__,
        }

    def _store_result(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **_: Any
    ) -> Any:
        try:
            # An error and its alert are written together; all else is one statement.
            fails = state in states.EXCEPTION_STATES
            with sync_engine().begin() if fails else _autocommit() as connection:
                if fails:
                    self._store_error(connection, task_id, result, state, traceback=traceback, request=request)
                elif state in states.READY_STATES:
                    self._finish(connection, request, task_id, state, {"meta": result, "retries": _retries(request)})
                else:
                    connection.execute(PROGRESS, {"id": _uuid(task_id), "state": state, "meta": result})
        except SQLAlchemyError as error:
            _warn(task_id, error)
        return result

    def _store_error(
        self, connection: Connection, task_id: str, result: Any, state: str, *, traceback: Any, request: Any
    ) -> None:
        # A task may ask for another try without an error.
        error = result if isinstance(result, dict) else self.prepare_exception(result or Retry("It asked for it."))
        # What is stored on a retry is the number of the try that comes.
        count = _retries(request) + (state == states.RETRY)
        meta = {**error, "retry_count": count, "max_retries": self._max_retries(request)}
        tried = {
            "exc_type": error.get("exc_type"),
            "exc_message": error.get("exc_message"),
            "retries": _retries(request),
        }
        whole = _storable(str(traceback)) if traceback else None
        values = {"meta": meta, "retries": count, "traceback": whole, "tried": [tried]}
        self._finish(connection, request, task_id, state, values)
        if state == states.FAILURE and request is not None:
            alert_failure(connection, _name(request), task_id, meta)

    def _begin(self, connection: Connection, request: Any, values: dict[str, Any]) -> int | None:
        """How often the task's process died before; None when the task has succeeded."""
        deaths: int | None = connection.scalar(BEGIN, values)
        if deaths is None and self._record_unknown(connection, request, request.id):
            return 0
        # The message was faster than the transaction that sent it, which has committed by now; or the task is done.
        return connection.scalar(BEGIN, values) if deaths is None else deaths

    def _finish(self, connection: Connection, request: Any, task_id: str, state: str, values: dict[str, Any]) -> None:
        identity = _uuid(task_id)
        if identity is None:
            return
        whole = {"id": identity, "state": state, "traceback": None, "tried": [], **values}
        if connection.execute(FINISH, whole).rowcount == 0 and request is not None:
            self._record_unknown(connection, request, task_id)
            connection.execute(FINISH, whole)

    def _record_unknown(self, connection: Connection, request: Any, task_id: str) -> bool:
        """Write the row of a task that did not come through the outbox; False when it is there."""
        identity = _uuid(task_id)
        if identity is None:
            return True
        delivery = getattr(request, "delivery_info", None) or {}
        values = {
            "id": identity,
            "name": _name(request)[:100],
            "kwargs": self._arguments(request),
            "queue": str(delivery.get("routing_key") or "celery")[:50],
            "retries": _retries(request),
            "worker_id": worker_id(),
            "meta": _STARTED,
        }
        return bool(connection.execute(INSERT, values).rowcount)

    def _arguments(self, request: Any) -> dict[str, Any]:
        """By name, however they were given: by name they are sent again should this worker die."""
        args, kwargs = getattr(request, "args", None), getattr(request, "kwargs", None)
        task = self.app.tasks.get(_name(request))
        try:
            return named_arguments(task, args, kwargs) if task else dict(kwargs or {})
        except TypeError:
            # They are not those of the task, which fails of it.
            return dict(kwargs) if isinstance(kwargs, dict) else {}

    def _max_retries(self, request: Any) -> int | None:
        task = self.app.tasks.get(_name(request))
        return None if task is None else task.max_retries

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        identity = _uuid(task_id)
        if identity is None:
            return {"status": states.PENDING, "result": None}
        with sync_engine().connect() as connection:
            row = connection.execute(FIND, {"id": identity}).one_or_none()
        return {"status": states.PENDING, "result": None} if row is None else self.meta_from_decoded(_meta(row))

    def _forget(self, task_id: str) -> None:
        with sync_engine().begin() as connection:
            connection.execute(FORGET, {"id": _uuid(task_id)})


def _autocommit() -> Connection:
    """A connection on which each statement is its own transaction, and takes one round trip instead of three."""
    return sync_engine().connect().execution_options(isolation_level="AUTOCOMMIT")


def _meta(row: Row[Any]) -> dict[str, Any]:
    return {
        "status": row.state,
        "result": row.meta,
        "traceback": row.traceback,
        "children": [],
        "date_done": row.finished_at and row.finished_at.isoformat(),
        "task_id": str(row.id),
        "name": row.name,
        "args": [],
        "kwargs": row.kwargs,
        "worker": row.worker,
        "retries": row.retries,
        "queue": row.queue,
    }


def _name(request: Any) -> str:
    # Celery gives less of a task that this worker does not know.
    return str(getattr(request, "task", None) or getattr(request, "name", None) or "unknown")


def _retries(request: Any) -> int:
    retries = getattr(request, "retries", 0)
    return min(retries, _MOST_RETRIES) if isinstance(retries, int) else 0


def _storable(text: str) -> str:
    """Without what PostgreSQL does not hold: NUL, and half a character."""
    return text.replace("\0", " ").encode(errors="replace").decode()


def _uuid(task_id: str) -> UUID | None:
    """The id; None for one that somebody chose and that is no UUID: such a task is run, and not kept."""
    try:
        return UUID(str(task_id))
    except ValueError:
        return None


def _warn(task_id: str, error: SQLAlchemyError) -> None:
    """A database that is away is a warning; a statement that it refuses is an error, and Watcher's own."""
    level = logging.WARNING if isinstance(error, OperationalError | InterfaceError) else logging.ERROR
    reason = str(getattr(error, "orig", error)).partition("\n")[0]
    logger.log(level, "The state of task %s could not be written: %s", task_id, reason)
