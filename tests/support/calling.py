"""This process as a program that calls Watcher's tasks, and as one that reads what arrives in the broker."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from celery import Celery
from celery.result import AsyncResult
from sqlalchemy import Engine, create_engine

from tests.support.live import wait_until
from watcher_server.database.engine import sqlalchemy_url

# Where a call is stored, and where its result is read.
_PLACES = ("tasking.sending.calls", "tasking.history.backend")


def watcher_app() -> Celery:
    """Watcher's Celery application with all its tasks, as worker and beat have it."""
    from watcher_server.celery_app import app  # noqa: PLC0415 - it reads the settings when it is imported

    app.loader.import_default_modules()
    return app


@contextmanager
def calls_to(database_url: str) -> Iterator[Engine]:
    """Have calls and results of this process go to that database."""
    watcher_app()
    engine = create_engine(sqlalchemy_url(database_url), connect_args={"options": "-c timezone=UTC"})
    with pytest.MonkeyPatch.context() as patch:
        for place in _PLACES:
            patch.setattr(f"watcher_server.{place}.sync_engine", lambda: engine)
        yield engine
    engine.dispose()


def wait_for_state(result: "AsyncResult[Any]", state: str, seconds: float = 30) -> None:
    """Wait until a task is in a state; one that has ended before is asked for anew."""
    app = watcher_app()
    wait_until(lambda: bool(app.AsyncResult(result.id).state == state), f"{result.id} being {state}", seconds)


def messages(app: Celery, queue: str = "celery") -> list[Any]:
    """The messages of a queue of the broker, in order; they are taken out."""
    found = []
    with app.connection_for_read() as connection, connection.SimpleQueue(queue) as simple, suppress(simple.Empty):
        while True:
            message = simple.get_nowait()
            message.ack()
            found.append(message)
    return found
