"""What every task of Watcher has in common."""

from collections.abc import Callable
from typing import Any, TypeVar

from celery import shared_task
from celery.exceptions import SoftTimeLimitExceeded
from sqlalchemy.exc import InterfaceError, OperationalError

from watcher_server.settings import get_settings

# What passes by itself: a connection that is lost or refused, a lock or statement that timed out, a deadlock, a task
# that took too long on a busy machine.
TRANSIENT_ERRORS = (OperationalError, InterfaceError, ConnectionError, TimeoutError, SoftTimeLimitExceeded)

_RETRY_DELAY_CAP_SECONDS = 600

Function = TypeVar("Function", bound=Callable[..., Any])


def _retries(delay_seconds: int) -> dict[str, Any]:
    return {
        "autoretry_for": TRANSIENT_ERRORS,
        "max_retries": get_settings().task_max_retries,
        "default_retry_delay": delay_seconds,
        # Celery doubles the delay at each retry. Its jitter draws from zero, which is no delay at all.
        "retry_backoff": delay_seconds,
        "retry_backoff_max": _RETRY_DELAY_CAP_SECONDS,
        "retry_jitter": False,
    }


DEFAULT_RETRIES = _retries(get_settings().task_retry_delay_seconds)
CLOSURE_RETRIES = _retries(get_settings().closure_retry_delay_seconds)


def watcher_task(name: str, **options: Any) -> Callable[[Function], Any]:
    """A Celery task under a plain name, retried with doubling delays on errors that can pass."""
    return shared_task(name=name, **{**DEFAULT_RETRIES, **options})
