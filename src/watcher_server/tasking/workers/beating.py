"""Beat as a thread of a worker, for `watcher up`: a process of its own would take 25 MB more."""

import logging
import threading

from celery import Celery

from watcher_server.tasking.sending.scheduler import OutboxScheduler

logger = logging.getLogger(__name__)

# After a failure that the scheduler did not expect.
_PAUSE_SECONDS = 5.0


class BeatThread:
    """Sends the scheduled tasks, as ``watcher beat`` does, until it is stopped.

    A beat of its own may run beside it: the database lets one of them send.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="beat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop_soon(self) -> None:
        """Send nothing more from now on, without waiting for the thread."""
        self._stopping.set()

    def stop(self) -> None:
        """Finish what is being sent, and let another beat go on."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=10)

    def _run(self) -> None:
        scheduler = OutboxScheduler(app=self._app)
        while not self._stopping.is_set():
            try:
                pause = scheduler.tick()
            except Exception:
                # Without this thread nothing would be checked any more.
                logger.exception("Beat starts again.")
                scheduler.close()
                scheduler, pause = OutboxScheduler(app=self._app), _PAUSE_SECONDS
            self._stopping.wait(pause)
        scheduler.close()
