"""Celery's result backend: the table ``task``.

Celery calls it at each change of a task's state. So the history, ``AsyncResult`` and ``GET /tasks/{id}`` always say the
same, and reading them needs no worker. The specification asks for it: "Each task provides status updates during
execution", "Failed tasks include detailed error information".
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

from celery import states
from celery.backends.base import BaseBackend
from celery.exceptions import Retry
from psycopg.types.json import Jsonb
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

from watcher_server.database.engine import autocommit, sync_engine
from watcher_server.database.statements import numbered
from watcher_server.tasking.sending.calls import named_arguments, task_uuid
from watcher_server.tasking.workers.service import worker_id

logger = logging.getLogger(__name__)

# None of these waits for the disk. Each is a transaction of one round trip and sets synchronous_commit by itself. If
# the database's machine crashes, the last moment of the history is lost, and tasks that it leaves unfinished run again.
# The end of the log is lost first, so whatever was written before a success that survived has survived too.

# A task that is in PROGRESS already lost the process that ran it. When the number of the try is a higher one, the try
# before it failed while the database was away, and no process died.
_BEGIN = numbered("""
UPDATE task SET state = 'PROGRESS', meta = %(meta)s, worker_id = %(worker_id)s, retries = %(retries)s,
    started_at = clock_timestamp(), finished_at = NULL, coalesced_into = NULL,
    deaths = deaths + CAST(state = 'PROGRESS' AND retries >= %(retries)s AS int),
    history = CASE WHEN state = 'PROGRESS' AND retries >= %(retries)s THEN history || jsonb_build_object(
        'at', clock_timestamp(), 'exc_type', 'WorkerLostError', 'exc_message', 'The process that ran it died.',
        'retries', retries) ELSE history END
FROM (SELECT set_config('synchronous_commit', 'off', true)) AS unhurried
WHERE id = %(id)s AND state <> 'SUCCESS'
RETURNING deaths
""")

# A worker that was taken for dead and wakes up reports time limits and lost connections of a try that is no longer its
# own: the keeper has put the task back, or another worker runs it. Only its success counts, as the work is done then.
_TAKEN_AWAY = "(published_at IS NULL OR state = 'PROGRESS' AND worker_id IS DISTINCT FROM %(worker_id)s)"

_IS_TAKEN_AWAY = numbered(f"SELECT {_TAKEN_AWAY} FROM task WHERE id = %(id)s")  # noqa: S608 - a constant

_PROGRESS = numbered(f"""
UPDATE task SET state = %(state)s, meta = %(meta)s
FROM (SELECT set_config('synchronous_commit', 'off', true)) AS unhurried
WHERE id = %(id)s AND state <> 'SUCCESS' AND NOT {_TAKEN_AWAY}
""")  # noqa: S608 - a constant

# Celery reports some failures twice, such as a time limit. The second report adds no entry to the history.
_FINISH = numbered(f"""
UPDATE task SET state = CAST(%(state)s AS text), meta = %(meta)s, retries = %(retries)s, traceback = %(traceback)s,
    finished_at = CASE WHEN CAST(%(state)s AS text) <> 'RETRY' THEN clock_timestamp() END,
    history = CASE WHEN jsonb_array_length(%(tried)s) > 0 AND state <> CAST(%(state)s AS text)
        THEN history || jsonb_set(%(tried)s, '{{0,at}}', to_jsonb(clock_timestamp())) ELSE history END
FROM (SELECT set_config('synchronous_commit', 'off', true)) AS unhurried
WHERE id = %(id)s AND state <> 'SUCCESS' AND (CAST(%(state)s AS text) = 'SUCCESS' OR NOT {_TAKEN_AWAY})
""")  # noqa: S608 - a constant

# A task that was sent straight to the broker.
_INSERT = numbered("""
INSERT INTO task (id, name, kwargs, queue, state, meta, retries, pipeline_id, pipeline_execution_id,
    created_at, published_at, started_at, worker_id)
SELECT %(id)s, %(name)s, given.kwargs, %(queue)s, 'PROGRESS', %(meta)s, %(retries)s,
    watcher_task_subject(given.kwargs, '{pipeline_id}'),
    watcher_task_subject(given.kwargs, '{pipeline_execution_id,execution_id}'),
    clock_timestamp(), clock_timestamp(), clock_timestamp(), %(worker_id)s
FROM (SELECT CAST(%(kwargs)s AS jsonb)) AS given (kwargs)
ON CONFLICT (id) DO NOTHING
""")

_FIND = text("""
SELECT asked.id::text AS task_id, asked.name, asked.kwargs, asked.queue, done.state AS status, done.meta AS result,
    done.traceback, done.retries, done.finished_at AS date_done, worker.name AS worker
FROM task AS asked
JOIN task AS done ON done.id = coalesce(asked.coalesced_into, asked.id)
LEFT JOIN worker ON worker.id = done.worker_id
WHERE asked.id = :id
""")


class PoisonedTaskError(Exception):
    """The process that ran this task died too often; another run would kill another process."""


class FailedTask(NamedTuple):
    """A task that failed for good; ``meta`` has the type and message of its error and the number of its retries."""

    name: str
    task_id: str
    meta: Mapping[str, Any]


class TaskBackend(BaseBackend):
    """Writes and reads the state of tasks.

    A database that is away does not fail a task that has done its work. The keeper sends a task whose end was not
    recorded again, and the next run records it.
    """

    app: Any
    # What the application writes beside a failure, in its transaction.
    failure_hooks: ClassVar[list[Callable[[Connection, FailedTask], None]]] = []
    # The keeper trims the history, so beat needs no task for it.
    supports_autoexpire = True

    def begin(self, request: Any, progress: dict[str, Any]) -> bool:
        """Record that a try starts, with its first progress; False when the task has succeeded before.

        Raises PoisonedTaskError when the process that ran it has died too often.
        """
        values = {
            "id": task_uuid(request.id),
            "worker_id": worker_id(),
            "retries": _retries(request),
            "meta": Jsonb(progress),
        }
        try:
            with autocommit() as connection:
                deaths = self._begin(connection, request, values)
        except SQLAlchemyError as error:
            _warn(request.id, error)
            return True
        if deaths is not None and deaths >= 5:  # noqa: PLR2004 - the error says it
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
            "exc_message": _storable(message)[:4_000],
            "exc_module": type(exc).__module__,
        }

    def _store_result(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **_: Any
    ) -> Any:
        try:
            # An error and what the hooks write beside it are one transaction; all else is one statement.
            fails = state in states.EXCEPTION_STATES
            with sync_engine().begin() if fails else autocommit() as connection:
                if fails:
                    self._store_error(connection, task_id, result, state, traceback=traceback, request=request)
                elif state in states.READY_STATES:
                    self._finish(
                        connection, request, task_id, state, {"meta": _json(result), "retries": _retries(request)}
                    )
                else:
                    values = {"id": task_uuid(task_id), "state": state, "meta": _json(result), "worker_id": worker_id()}
                    _PROGRESS.run(connection, values)
        except SQLAlchemyError as error:
            _warn(task_id, error)
        return result

    def _store_error(
        self, connection: Connection, task_id: str, result: Any, state: str, *, traceback: Any, request: Any
    ) -> None:
        # A task may ask for another try without raising an error.
        error = result if isinstance(result, dict) else self.prepare_exception(result or Retry("It asked for it."))
        # A retry stores the number of the next try.
        count = _retries(request) + (state == states.RETRY)
        task = self.app.tasks.get(_name(request))
        meta = {**error, "retry_count": count, "max_retries": None if task is None else task.max_retries}
        tried = {key: error.get(key) for key in ("exc_type", "exc_message")} | {"retries": _retries(request)}
        whole = _storable(str(traceback)) if traceback else None
        values = {"meta": Jsonb(meta), "retries": count, "traceback": whole, "tried": Jsonb([tried])}
        finished = self._finish(connection, request, task_id, state, values)
        if finished and state == states.FAILURE and request is not None:
            self._tell_failure(connection, FailedTask(_name(request), task_id, meta))

    def _tell_failure(self, connection: Connection, failed: FailedTask) -> None:
        """Call the hooks. The failure is kept also when one of them fails, or the task would run for ever."""
        for hook in self.failure_hooks:
            try:
                with connection.begin_nested():
                    hook(connection, failed)
            except SQLAlchemyError:
                logger.exception("Task %s failed for good, and nobody could be told.", failed.task_id)

    def _begin(self, connection: Connection, request: Any, values: dict[str, Any]) -> int | None:
        """How often the task's process died before; None when the task has succeeded."""
        begun = _BEGIN.run(connection, values).fetchone()
        if begun is None and self._record_unknown(connection, request, request.id):
            return 0
        # Either the message overtook the transaction that sent it, which has committed by now, or the task is done.
        begun = begun or _BEGIN.run(connection, values).fetchone()
        return None if begun is None else int(begun[0])

    def _finish(self, connection: Connection, request: Any, task_id: str, state: str, values: dict[str, Any]) -> bool:
        """Write the end of a try; False when the task has succeeded, or was given to another worker."""
        identity = task_uuid(task_id)
        if identity is None:
            return True
        whole = {"traceback": None, "tried": Jsonb([]), **values}
        whole |= {"id": identity, "state": state, "worker_id": worker_id()}
        if _FINISH.run(connection, whole).rowcount:
            return True
        if request is None:
            return False
        self._record_unknown(connection, request, task_id)
        return bool(_FINISH.run(connection, whole).rowcount)

    def _record_unknown(self, connection: Connection, request: Any, task_id: str) -> bool:
        """Write the row of a task that did not come through the outbox; False when it is there."""
        identity = task_uuid(task_id)
        if identity is None:
            return True
        delivery = getattr(request, "delivery_info", None) or {}
        values = {
            "id": identity,
            "name": _name(request)[:100],
            "kwargs": Jsonb(self._arguments(request)),
            "queue": str(delivery.get("routing_key") or "celery")[:50],
            "retries": _retries(request),
            "worker_id": worker_id(),
            "meta": Jsonb({"status": "Running...", "current_step": "Starting", "progress": 0}),
        }
        return bool(_INSERT.run(connection, values).rowcount)

    def _arguments(self, request: Any) -> dict[str, Any]:
        """The arguments by name, as the keeper sends them again should this worker die."""
        args, kwargs = getattr(request, "args", None), getattr(request, "kwargs", None)
        task = self.app.tasks.get(_name(request))
        try:
            return named_arguments(task, args, kwargs) if task else dict(kwargs or {})
        except TypeError:
            # The task does not take these arguments, and fails.
            return dict(kwargs) if isinstance(kwargs, dict) else {}

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        with sync_engine().connect() as connection:
            row = connection.execute(_FIND, {"id": task_uuid(task_id)}).mappings().one_or_none()
        if row is None:
            return {"status": states.PENDING, "result": None}
        date_done = row["date_done"] and row["date_done"].isoformat()
        return dict(self.meta_from_decoded({**row, "date_done": date_done, "args": [], "children": []}))

    def _forget(self, task_id: str) -> None:
        with sync_engine().begin() as connection:
            connection.execute(text("DELETE FROM task WHERE id = :id"), {"id": task_uuid(task_id)})


def is_taken_away(task_id: str) -> bool:
    """Whether another worker has the task now, so that this worker's try is not to be followed by a next one."""
    try:
        with autocommit() as connection:
            found = _IS_TAKEN_AWAY.run(connection, {"id": task_uuid(task_id), "worker_id": worker_id()}).fetchone()
            return found is not None and bool(found[0])
    except SQLAlchemyError:
        return False


def _name(request: Any) -> str:
    # Celery gives less about a task that this worker does not know.
    return str(getattr(request, "task", None) or getattr(request, "name", None) or "unknown")


def _retries(request: Any) -> int:
    retries = getattr(request, "retries", 0)
    # A message may claim more than the column takes.
    return min(retries, 32_767) if isinstance(retries, int) else 0


def _json(value: Any) -> Jsonb | None:
    return None if value is None else Jsonb(value)


def _storable(text: str) -> str:
    """The text without NUL and lone surrogates, which PostgreSQL does not store."""
    return text.replace("\0", " ").encode(errors="replace").decode()


def _warn(task_id: str, error: SQLAlchemyError) -> None:
    """Log a warning while the database is away, and an error for a statement that it refuses, which is a bug."""
    level = logging.WARNING if isinstance(error, OperationalError | InterfaceError) else logging.ERROR
    reason = str(getattr(error, "orig", error)).partition("\n")[0]
    logger.log(level, "The state of task %s could not be written: %s", task_id, reason)
