"""The limit on how long a worker may take to stop."""

import logging
import os
import signal
import threading
from contextlib import suppress
from typing import Any
from uuid import UUID

from celery.worker import state
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from watcher_server.database.engine import sync_engine

logger = logging.getLogger(__name__)

# By ix_task_under_way. It adds no death: a long task may be given back at every deployment, and is not at fault.
_GIVE_BACK = text("""
UPDATE task SET state = 'PENDING', worker_id = NULL WHERE state = 'PROGRESS' AND worker_id = :worker_id
""")


def is_stopping() -> bool:
    """Whether this worker was told to end; its main loop does not turn any more then."""
    # The flags are exit statuses: 0 is one, False and None are none.
    return any(flag is not None and flag is not False for flag in (state.should_stop, state.should_terminate))


def limit_shutdown(worker: Any, worker_id: UUID, seconds: float) -> None:
    """Give the tasks that still run this many seconds; then they are given back.

    Celery's warm shutdown waits for running tasks however long they take, and its soft shutdown sleeps the whole
    time even when nothing runs. Here the processes of the pool are killed, and Celery gives their tasks back as it does
    those of any process that dies. The specification asks for it: "Set appropriate timeouts for long-running tasks".
    """
    timer = threading.Timer(seconds, _give_back, [worker, worker_id, seconds])
    timer.daemon = True
    timer.start()


def _give_back(worker: Any, worker_id: UUID, seconds: float) -> None:
    logger.warning("What still runs %.0f s after the signal to stop is given back.", seconds)
    # Before another worker can take the message.
    try:
        with sync_engine().begin() as connection:
            connection.execute(_GIVE_BACK, {"worker_id": worker_id})
    except SQLAlchemyError as error:
        logger.info("The tasks that are given back could not be written down: %s", type(error).__name__)
    # Celery offers no other way to its processes than billiard's own list. A pool that has ended has none.
    for process in list(getattr(worker.pool._pool, "_pool", ())):  # noqa: SLF001 - see above
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
