"""A task in a worker's main process, which Celery tells what becomes of it, and which counts that.

Celery's signals for a task's end are sent in the processes of the pool, and its events carry no class of the error. The
specification asks for the numbers: "Task Throughput: Tasks processed per minute", "Error Rates: Failed task
percentages".
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from billiard.einfo import ExceptionWithTraceback  # type: ignore[attr-defined]
from celery.exceptions import Ignore, Reject, Retry
from celery.worker.request import Request
from prometheus_client import Counter

from watcher_server.tasking.wire import DUE_HEADER
from watcher_server.tasking.workers import counters

Outcome = tuple[bool, Any, float | None]


class WatcherRequest(Request):
    """A task that a worker has taken, counted from its message to its end.

    A task is counted once per message: one that is given back to the broker counts again when it returns.
    """

    _ended = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # Celery derives a class for each task. Its on_success replaces the one here and does not call it.
        replacement = cls.__dict__.get("on_success")
        if replacement is not None:
            cls.on_success = _counting(replacement)  # type: ignore[method-assign]

    def __init__(self, message: Any, **options: Any) -> None:
        super().__init__(message, **options)
        queue = self.delivery_info.get("routing_key") or "unknown"
        self._labels = (self.hostname, str(self.task.name), queue)
        counters.series(counters.RECEIVED, *self._labels).inc()

    def on_accepted(self, pid: str, time_accepted: float) -> None:
        """A process of the pool has begun."""
        super().on_accepted(pid, time_accepted)
        counters.series(counters.STARTED, *self._labels).inc()
        due = self.request_dict.get(DUE_HEADER)
        if isinstance(due, (int, float)) and self.time_start is not None:
            counters.series(counters.WAIT, *self._labels).observe(max(0.0, self.time_start - due))

    def on_success(self, failed__retval__runtime: Outcome, **kwargs: Any) -> None:
        """The process has answered, with a result or with an error."""
        self.count_success(failed__retval__runtime)
        super().on_success(failed__retval__runtime, **kwargs)

    def count_success(self, outcome: Outcome) -> None:
        """Count a result; on_failure counts an error."""
        failed, _, runtime = outcome
        # A message of a task that had succeeded before is skipped, and has no runtime.
        if not failed and runtime is not None and self._count_end(counters.SUCCEEDED):
            counters.series(counters.RUNTIME, *self._labels).observe(runtime)

    def on_retry(self, exc_info: Any) -> None:
        """This try failed, and there will be another."""
        super().on_retry(exc_info)
        retry = _error(exc_info)
        self._count_end(counters.RETRIED, _class_name(getattr(retry, "exc", None) or retry))

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> None:  # noqa: FBT002 - Celery's signature
        """The task raised, or its process died: a retry, a rejection or a failure for good."""
        error = _error(exc_info)
        try:
            super().on_failure(exc_info, send_failed_event, return_ok)
        finally:
            # A retry, a rejection and a revocation have been counted as such.
            if not isinstance(error, (Ignore, Reject, Retry)):
                self._count_end(counters.FAILED, _class_name(error))

    def reject(self, requeue: bool = False) -> None:  # noqa: FBT002 - Celery's signature
        """Give the task back to the broker, or throw it away."""
        if not self.acknowledged:
            self._count_end(counters.REJECTED)
        super().reject(requeue)

    def _announce_revoked(self, *how: Any) -> None:
        # Every way of revoking calls it.
        self._count_end(counters.REVOKED)
        super()._announce_revoked(*how)  # type: ignore[misc]

    def _count_end(self, counter: Counter, *further_labels: str) -> bool:
        """Count the end, once: Celery reports a task over its time limit twice."""
        if self._ended:
            return False
        self._ended = True
        counters.series(counter, *self._labels, *further_labels).inc()
        return True


def _counting(on_success: Callable[..., None]) -> Callable[..., None]:
    @wraps(on_success)
    def count_and_go_on(self: WatcherRequest, failed__retval__runtime: Outcome, **kwargs: Any) -> None:
        self.count_success(failed__retval__runtime)
        on_success(self, failed__retval__runtime, **kwargs)

    return count_and_go_on


def _error(exc_info: Any) -> BaseException:
    error: BaseException = exc_info.exception
    return error.exc if isinstance(error, ExceptionWithTraceback) else error


def _class_name(error: BaseException) -> str:
    # An error that cannot travel between processes arrives wrapped, with its name beside it.
    return getattr(error, "exc_cls_name", None) or type(error).__name__
