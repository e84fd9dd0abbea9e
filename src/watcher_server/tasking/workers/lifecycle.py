"""What a worker runs beside its pool, from its start to its end: relay, keeper, heartbeat and its port.

The specification asks for it: "Health Checks: Implement worker health monitoring".
"""

import atexit
import heapq
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, ClassVar

from celery import Celery, bootsteps
from celery.signals import worker_process_init, worker_process_shutdown, worker_shutdown, worker_shutting_down
from celery.worker import state
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from watcher_server.database.engine import database_engine, session_settings
from watcher_server.settings import Settings, get_settings
from watcher_server.tasking.keeper.duties import Duty
from watcher_server.tasking.keeper.keeper import Keeper
from watcher_server.tasking.sending.relay import Relay
from watcher_server.tasking.workers import messages, starting
from watcher_server.tasking.workers.beating import BeatThread
from watcher_server.tasking.workers.server import WorkerServer
from watcher_server.tasking.workers.service import beat_worker, become_worker, forget_workers, stop_worker
from watcher_server.tasking.workers.stopping import limit_shutdown

logger = logging.getLogger(__name__)

# A main loop that does not tick for this long hangs. A worker that could not write its heartbeat for this long is not
# ready.
_STALE_SECONDS = 30.0
_STATEMENT_SECONDS = 10

KeeperDuties = Callable[[Settings], Sequence[Duty]]


class Pulse:
    """Whether the main loop of a worker turns. While it waits for a connection to the broker, it need not."""

    def __init__(self) -> None:
        self._ticked = time.monotonic()
        self.connected = False
        self.waking, self._alarm = os.pipe()
        os.set_blocking(self._alarm, False)

    def tick(self) -> None:
        self._ticked = time.monotonic()

    def wake(self) -> None:
        """Have the loop turn at once: a signal alone does not end its wait, which lasts up to a second."""
        with suppress(BlockingIOError):
            os.write(self._alarm, b"!")

    @property
    def beats(self) -> bool:
        """Whether the loop turned lately, or has nothing to turn for."""
        return not self.connected or time.monotonic() - self._ticked < _STALE_SECONDS


class WorkerServices:
    """The threads of one worker's main process."""

    def __init__(self, worker: Any, settings: Settings, duties: Sequence[Duty], *, with_beat: bool) -> None:
        self._worker = worker
        self._settings = settings
        self.pulse = Pulse()
        self._id = become_worker()
        self._pid = os.getpid()
        self._seen = 0.0
        self._stopping = threading.Event()
        self._relay = Relay(settings) if settings.relay_enabled else None
        self._keeper = Keeper(settings, duties)
        self._beat = BeatThread(worker.app) if with_beat else None
        self._server = WorkerServer(
            settings.worker_metrics_host, settings.worker_metrics_port, lambda: self.pulse.beats, self._unready
        )
        self._metrics_url: str | None = None
        self._heart = threading.Thread(target=self._report, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Start everything; the pool is forked already."""
        self._metrics_url = self._server.start()
        self._heart.start()
        self._keeper.start()
        if self._relay is not None:
            self._relay.start()
        if self._beat is not None:
            self._beat.start()
        worker_shutting_down.connect(self._limit_shutdown)
        atexit.register(self.stop)

    def stop(self) -> None:
        """End everything, once the pool is done; only in the process that started it."""
        if self._stopping.is_set() or os.getpid() != self._pid:
            return
        self._stopping.set()
        # It looks twice a second whether it is to end: the others end meanwhile.
        self._server.stop_soon()
        if self._beat is not None:
            self._beat.stop()
        if self._relay is not None:
            self._relay.stop()
        self._keeper.stop()
        self._heart.join(_STATEMENT_SECONDS)
        self._server.stop()

    def _limit_shutdown(self, **_: Any) -> None:
        self.pulse.wake()
        if self._beat is not None:
            self._beat.stop_soon()
        limit_shutdown(self._worker, self._id, self._settings.worker_stop_seconds)

    def _unready(self) -> str | None:
        """Why the worker cannot work now; None when it can."""
        if not self.pulse.connected:
            return "The broker is not connected: start it, or correct WATCHER_BROKER_URL."
        if time.monotonic() - self._seen > _STALE_SECONDS:
            return "The database does not take the heartbeat: start it, or correct WATCHER_DATABASE_URL."
        return None

    def _report(self) -> None:
        settings, told = self._settings, session_settings(timeout_seconds=_STATEMENT_SECONDS)
        engine = database_engine(
            settings.database,
            told,
            pooled=settings.pooled,
            application_name="watcher worker",
            pool_size=1,
            max_overflow=0,
        )
        every = min(5.0, settings.lost_task_after_seconds / 4)
        known = False
        while not self._stopping.is_set():
            if self.pulse.beats:
                known = self._say(engine, known=known)
            self._stopping.wait(every)
        try:
            with engine.begin() as connection:
                stop_worker(connection, self._id)
        except SQLAlchemyError as error:
            logger.info("The end of this worker could not be written: %s", type(error).__name__)
        engine.dispose()

    def _say(self, engine: Engine, *, known: bool) -> bool:
        """Write the heartbeat; whether the database knows this worker."""
        try:
            processes = int(self._worker.pool.num_processes)
        except AttributeError:
            processes = 0  # The pool has stopped, and the services stop next.
        about: dict[str, Any] = {
            "name": self._worker.hostname,
            "host": socket.gethostname(),
            "pid": self._pid,
            "queues": sorted(self._worker.app.amqp.queues.consume_from),
            "processes": processes,
            "active": len(state.active_requests),
            "metrics_url": self._metrics_url,
        }
        try:
            with engine.begin() as connection:
                beat_worker(connection, self._id, **about)
                if not known:
                    forget_workers(connection)
        except SQLAlchemyError as error:
            logger.warning("The heartbeat could not be written: %s", type(error).__name__)
            return known
        self._seen = time.monotonic()
        return True


class ServicesStep(bootsteps.StartStopStep):
    """Starts the services after the pool has been forked, so that no process of it inherits a thread's lock.

    They stop after the pool, not before it as a step would: until then this worker still runs tasks.
    """

    requires = ("celery.worker.components:Pool",)
    keeper_duties: ClassVar[KeeperDuties]

    def __init__(self, worker: Any, *, with_beat: bool = False, **_: Any) -> None:
        settings = get_settings()
        duties = type(self).keeper_duties(settings)
        worker.watcher = WorkerServices(worker, settings, duties, with_beat=with_beat)
        super().__init__(worker)

    def start(self, worker: Any) -> None:
        worker.watcher.start()

    def stop(self, worker: Any) -> None:
        """Do nothing yet: the class says why."""


class PulseStep(bootsteps.StartStopStep):
    """Lets the main loop tick while it is connected to the broker."""

    requires = ("celery.worker.consumer.tasks:Tasks",)
    _ticking: Any = None

    def start(self, consumer: Any) -> None:
        pulse = consumer.controller.watcher.pulse
        pulse.tick()
        pulse.connected = True

        def tick() -> None:
            pulse.tick()
            forget_cancelled(consumer.timer)

        self._ticking = consumer.timer.call_repeatedly(2.0, tick)
        if consumer.hub:
            consumer.hub.add_reader(pulse.waking, os.read, pulse.waking, 1)

    def stop(self, consumer: Any) -> None:
        consumer.controller.watcher.pulse.connected = False
        if self._ticking is not None:
            self._ticking.cancel()

    shutdown = stop


def forget_cancelled(timer: Any) -> None:
    """Take cancelled calls out of a timer of the main loop, in whose thread this has to run.

    Each task that ends leaves the call that would have enforced its time limit. kombu keeps that until it is due, and
    then wakes the loop for it: minutes after a busy time, dozens of times a second.
    """
    queue = timer._queue  # noqa: SLF001 - the loop of kombu reads it by this name, and there is no other way in
    left = [call for call in queue if not call.entry.canceled]
    if len(left) < len(queue):
        # The loop holds on to this very list.
        queue[:] = left
        heapq.heapify(queue)


class EventsStep(bootsteps.StartStopStep):
    """Sends the events of half a second together.

    Celery sends after every turn of the main loop, up to three times for one task, and that took a third of the main
    process's time. Each event carries the moment at which it happened, for Flower and celery-exporter. The
    specification asks for events: "Worker Status: Active workers and their status".
    """

    requires = ("celery.worker.consumer.events:Events",)

    def start(self, consumer: Any) -> None:
        self._consumer = consumer
        self._awaited = False
        if consumer.hub:
            consumer.event_dispatcher.on_send_buffered = self._send_soon

    def _send_soon(self) -> None:
        if not self._awaited:
            self._awaited = True
            self._consumer.timer.call_after(0.5, self._send)

    def _send(self) -> None:
        self._awaited = False
        if self._consumer.event_dispatcher:
            self._consumer.event_dispatcher.flush()

    def stop(self, consumer: Any) -> None:
        """Send what is left; on a lost connection it is lost, as it is with Celery's way."""
        with suppress(*consumer.connection_errors):
            self._send()


def _stop_services(sender: Any, **_: Any) -> None:
    sender.watcher.stop()


def _end_process(exitcode: int, **_: Any) -> None:
    """End a process of the pool that has nothing left to do, which billiard has sleep for a second first.

    In that second the worker is to read that the process ends. It sees the end itself, as it does when one is killed.
    """
    os._exit(exitcode)


def _end_at_once(**_: Any) -> None:
    # Connected when the process begins, it is the last to be told, after all that modules have connected.
    worker_process_shutdown.connect(_end_process, weak=False)


def install(app: Celery, keeper_duties: KeeperDuties) -> None:
    """Have every worker of the application run the services, and its keeper do these duties besides its own."""
    messages.install()
    starting.install()
    ServicesStep.keeper_duties = keeper_duties
    app.steps["worker"].add(ServicesStep)
    app.steps["consumer"].add(PulseStep)
    app.steps["consumer"].add(EventsStep)
    worker_shutdown.connect(_stop_services, weak=False)
    worker_process_init.connect(_end_at_once, weak=False)
