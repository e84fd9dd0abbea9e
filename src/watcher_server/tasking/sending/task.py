"""What every task of Watcher has in common: how it is sent, when it is retried, what it says of itself."""

import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from celery import Task, current_task, shared_task
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from sqlalchemy import Connection, text
from sqlalchemy.exc import InterfaceError, OperationalError

from watcher_server.database.engine import sync_engine
from watcher_server.settings import get_settings
from watcher_server.tasking.history.backend import is_taken_away
from watcher_server.tasking.sending.calls import ArgumentError, send_through_outbox, task_uuid
from watcher_server.telemetry.context import CONTEXT_HEADER, current_context

logger = logging.getLogger(__name__)

# Errors that pass by themselves: a connection that is lost or refused, a lock or statement that timed out, a deadlock,
# a task that took too long on a busy machine.
TRANSIENT_ERRORS = (OperationalError, InterfaceError, ConnectionError, TimeoutError, SoftTimeLimitExceeded)

Function = TypeVar("Function", bound=Callable[..., Any])

if TYPE_CHECKING:
    _Task = Task[Any, Any]  # Celery's stubs make it generic, and Celery does not.
else:
    _Task = Task


class WatcherTask(_Task):
    """A task that is sent through the outbox, so that neither a broker that is away nor a rate limit loses it.

    Each try is recorded when it starts; a task that has succeeded does not run again when its message arrives twice.
    """

    abstract = True
    # What the task is doing, shown while it runs.
    status = "Running..."
    Request = "watcher_server.tasking.workers.request:WatcherRequest"
    Strategy = "watcher_server.tasking.workers.strategy:paced_strategy"

    def apply_async(  # type: ignore[override]
        self, args: Any = None, kwargs: Any = None, task_id: str | None = None, producer: Any = None, **options: Any
    ) -> Any:
        """Have the task run; at once as far as its rate limit allows, or after ``countdown`` seconds or at ``eta``.

        The call is a row of the outbox when this returns. Only when the database cannot be reached, or the id is one
        that the history does not keep, it goes straight to the broker. Raises TypeError if the arguments are not those
        of the task, or PostgreSQL cannot store them as JSON.
        """
        # Both ways use the same id: if the row was written and the answer was lost, the task still runs once.
        task_id = task_id or str(uuid4())
        if task_uuid(task_id) is not None and not self.app.conf.task_always_eager:
            try:
                return self.AsyncResult(send_through_outbox(self, args, kwargs, task_id, options))
            except (OperationalError, InterfaceError) as error:
                reason = str(getattr(error, "orig", error)).partition("\n")[0]
                logger.warning("The database cannot be reached (%s): %s goes to the broker.", reason, self.name)
            except ArgumentError:
                # A retry whose arguments cannot be stored came from the broker and goes back there, or it would be
                # repeated without end.
                if not options.get("retries"):
                    raise
        if (context := current_context()) is not None:
            options["headers"] = {**(options.get("headers") or {}), CONTEXT_HEADER: context}
        return super().apply_async(args, kwargs, task_id=task_id, producer=producer, **options)

    def retry(self, *args: Any, **options: Any) -> Any:
        """As Celery's, with the settings' delays where none is given; raises Ignore if another worker has it now."""
        if self.request.id and not self.request.is_eager and is_taken_away(self.request.id):
            logger.info("Task %s was given to another worker: it gets no next try from here.", self.request.id)
            raise Ignore
        if options.get("eta") is None and options.get("countdown") is None:
            cap = get_settings().task_retry_delay_cap_seconds
            options["countdown"] = retry_delay(self.request.retries, self.default_retry_delay, cap)
        try:
            return super().retry(*args, **options)
        except Reject as reject:
            # Neither database nor broker takes the next try, so the message at hand is all that is left of the task.
            raise Reject(reject.args[0], requeue=True) from reject

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Record that the task runs; raises Ignore if it has succeeded before."""
        request: Any = self.request
        backend: Any = self.backend
        if request.is_eager:
            return
        request.progress_at = time.monotonic()
        if not backend.begin(request, {"status": self.status, "current_step": "Starting", "progress": 0}):
            logger.info("Task %s has succeeded already: it is not run again.", task_id)
            raise Ignore


def retry_delay(retries: int, base_seconds: float, cap_seconds: float) -> float:
    """Seconds until the next try, after this number of retries: doubling from the base up to the cap, jittered.

    The jitter takes up to half of the delay away ("equal jitter", Brooker, *Exponential Backoff And Jitter*, AWS
    Architecture Blog, 2015), so tasks that failed together do not come back together, and none comes back at once.
    """
    whole = min(cap_seconds, base_seconds * 2.0 ** min(retries, 60))
    return whole * (0.5 + random.random() / 2)  # noqa: S311 - spreading load needs no secret


def _retries(delay_seconds: int) -> dict[str, Any]:
    return {
        "autoretry_for": TRANSIENT_ERRORS,
        "max_retries": get_settings().task_max_retries,
        "default_retry_delay": delay_seconds,
    }


DEFAULT_RETRIES = _retries(get_settings().task_retry_delay_seconds)
CLOSURE_RETRIES = _retries(get_settings().closure_retry_delay_seconds)


def watcher_task(name: str, **options: Any) -> Callable[[Function], Any]:
    """A Celery task under a plain name, retried with doubling delays on errors that can pass."""
    return shared_task(name=name, base=WatcherTask, **{**DEFAULT_RETRIES, **options})


# One round trip, and none outside a task that is durable.
_SET_UP = text("""
SELECT set_config('statement_timeout', coalesce(:statement_timeout, current_setting('statement_timeout')), true),
    set_config('synchronous_commit', coalesce(:synchronous_commit, current_setting('synchronous_commit')), true)
""")


@contextmanager
def task_transaction(*, durable: bool = True) -> Iterator[Connection]:
    """The transaction of the running task: what it writes stands when the block ends, or not at all.

    The database gives up on a statement five seconds before Celery gives up on the task. Without ``durable`` the commit
    does not wait for the disk: for work that is done again should the database's machine crash in the next half second.
    """
    limit = getattr(current_task, "soft_time_limit", None)
    with sync_engine().begin() as connection:
        if limit or not durable:
            seconds = f"{max(1, int(limit) - 5)}s" if limit else None
            values = {"statement_timeout": seconds, "synchronous_commit": None if durable else "off"}
            connection.execute(_SET_UP, values)
        yield connection


def report_progress(current_step: str, progress: int) -> None:
    """Say how far the running task is, from 0 to 100; what comes within half a second of the last is not written."""
    task: Any = current_task
    reported_at = getattr(task.request, "progress_at", None) if task else None
    if reported_at is None or time.monotonic() - reported_at < 0.5:  # noqa: PLR2004 - said above
        return
    task.request.progress_at = time.monotonic()
    meta = {"status": task.status, "current_step": current_step, "progress": max(0, min(100, progress))}
    task.update_state(state="PROGRESS", meta=meta)
