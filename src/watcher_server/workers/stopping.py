"""The limit on how long a worker may take to stop."""

import logging
import os
import signal
import threading
from contextlib import suppress
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from watcher_server.database.engine import sync_engine

logger = logging.getLogger(__name__)

# By ix_task_under_way. Theirs is no death: a long task may be given back at every deployment.
_GIVE_BACK = text("""
UPDATE task SET state = 'PENDING', worker_id = NULL WHERE state = 'PROGRESS' AND worker_id = :worker_id
""")


def limit_shutdown(worker: Any, worker_id: UUID, seconds: float) -> None:
    """Once a worker stops taking tasks, give those that run so many seconds; then they are given back.

    Celery's warm shutdown waits for running tasks however long they take, and its soft shutdown sleeps the whole
    time even when nothing runs. The processes of the pool are killed instead, and Celery gives their tasks back as
    it does those of any process that dies.
    """
    timer = threading.Timer(seconds, _give_back, [worker, worker_id, seconds])
    timer.daemon = True
    timer.start()


def _give_back(worker: Any, worker_id: UUID, seconds: float) -> None:
    logger.warning("What still runs %.0f s after the signal to stop is given back.", seconds)
    # Before its message is anybody else's.
    try:
        with sync_engine().begin() as connection:
            connection.execute(_GIVE_BACK, {"worker_id": worker_id})
    except SQLAlchemyError as error:
        logger.info("What was given back counts as lost: %s", type(error).__name__)
    # billiard's own list: Celery offers no other way to its processes. There is none when the pool has ended.
    for process in list(getattr(worker.pool._pool, "_pool", ())):  # noqa: SLF001 - see above
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
