"""The children of ``watcher up``: forks of it, which share the memory of everything that it has imported.

Elsewhere than on Linux they are programs of their own: system libraries there do not outlive a fork.
"""

import atexit
import gc
import importlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from sqlalchemy.orm import configure_mappers

from watcher_server.cli.errors import expected_errors
from watcher_server.cli.signals import STOP_SIGNALS, StopSignals
from watcher_server.database.migrate import head_revision
from watcher_server.embedded.process import command_line, die_with_parent, name_process
from watcher_server.settings import exit_with, get_settings

FORKS = sys.platform == "linux"
_processes: Any = multiprocessing.get_context("fork" if FORKS else "spawn")
# All that api and worker import until they wait for work. A module that is missing here costs each of their processes
# time and memory of its own.
_SHARED = (
    "_strptime",
    "billiard.heap",
    "billiard.popen_fork",
    "billiard.sharedctypes",
    "billiard.synchronize",
    "celery.app.amqp",
    "celery.app.control",
    "celery.app.events",
    "celery.app.log",
    "celery.app.routes",
    "celery.events.state",
    "celery.worker.autoscale",
    "celery.worker.components",
    "celery.worker.consumer.delayed_delivery",
    "celery.worker.strategy",
    "kombu.pidbox",
    "uvicorn.lifespan.off",
    "uvicorn.loops.uvloop",
    "uvicorn.protocols.websockets.auto",
    "watcher_server.app",
    "watcher_server.celery_tasks",
    "watcher_server.cli.celery_processes",
    "watcher_server.cli.serve",
    "watcher_server.tasking.history.backend",
    "watcher_server.tasking.sending.scheduler",
    "watcher_server.tasking.workers.foreign",
    "watcher_server.tasking.workers.lifecycle",
    "watcher_server.tasking.workers.request",
    "watcher_server.tasking.workers.strategy",
    "celery.apps.beat",
    "celery.apps.worker",
    "celery.concurrency.prefork",
    "celery.worker.consumer",
    "kombu.transport.redis",
    "uvicorn.lifespan.on",
    "uvloop",
)


def prepare_children(environment: Mapping[str, str]) -> None:
    """Import and make what the children need, so that they share its memory. ``environment`` is that of the children.

    The garbage collector leaves it alone: its marks would copy each page.

    Raises:
        SettingsError: a setting cannot work.
    """
    if not FORKS:
        return
    # The applications read the settings, among them the URLs of the engines.
    _take_environment(environment)
    for module in _SHARED:
        importlib.import_module(module)
    _make_applications()
    gc.collect()
    gc.freeze()


def _make_applications() -> None:
    """Make the applications of Celery and of the api, and the mappings of the tables, as far as all processes do."""
    # PLC0415: importing them reads the settings, which are complete only now.
    from watcher_server.celery_app import app
    from watcher_server.cli.serve import make_shared_app

    app.loader.import_default_modules()
    app.finalize()
    configure_mappers()
    # The api compares the revision of the database with it.
    head_revision()
    make_shared_app(get_settings())


def _take_environment(environment: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    get_settings.cache_clear()


@dataclass
class Child:
    """One of Watcher's own processes, with the seconds it gets to finish what it is doing.

    ``run`` is all that it does; ``drop_signal`` tells it to drop what it has not finished by then.
    """

    name: str
    run: Callable[[], None]
    grace_seconds: float
    drop_signal: signal.Signals | None = None
    process: BaseProcess | None = None
    told_to_end: bool = False

    @property
    def pid(self) -> int:
        """Its process id, which is its process group's too; 0 before it was started."""
        return self.process.pid or 0 if self.process is not None else 0

    def start(self, environment: Mapping[str, str]) -> None:
        """Start it in a session of its own: a terminal's Ctrl-C reaches only the parent."""
        self.told_to_end = False
        arguments = (self.name, self.run, dict(environment), die_with_parent(signal.SIGTERM))
        self.process = _processes.Process(target=_run_child, args=arguments, name=self.name)
        # A signal that comes before the child has handlers of its own would be taken by the parent's.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    def status(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        return self.process.exitcode if self.process is not None else None

    def terminate(self) -> None:
        """Tell it to finish, and do not wait."""
        if self.process is not None and not self.told_to_end:
            self.told_to_end = True
            self.process.terminate()

    def stop(self, signals: StopSignals) -> None:
        """Let it finish within its grace, unless the user hurries; then end its whole process group."""
        if self.process is None:
            return
        self.terminate()
        self._wait(self.grace_seconds, lambda: signals.impatient)
        if self.drop_signal is not None and self.status() is None:
            os.kill(self.pid, self.drop_signal)
            self._wait(3.0, lambda: False)
        self.end_group()

    def _wait(self, seconds: float, enough: Callable[[], bool]) -> None:
        deadline = time.monotonic() + seconds
        while self.status() is None and time.monotonic() < deadline and not enough():
            time.sleep(0.03)

    def end_group(self) -> None:
        """Kill what is left of its process group: a process that dies leaves its children behind."""
        if self.process is None:
            return
        kill_group(self.pid)
        self.process.join()


def child_command() -> str:
    """A part of the command line of every child."""
    return command_line(os.getpid()) if FORKS else "multiprocessing"


def kill_group(pid: int) -> None:
    """Kill a process group, if it still has a member."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _run_child(
    name: str, run: Callable[[], None], environment: Mapping[str, str], die_with_up: Callable[[], None]
) -> None:
    """Become the child: a session, signals, an environment and an end of its own."""
    os.setsid()
    die_with_up()
    name_process(f"watcher {name}")
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    _take_environment(environment)
    # What a Celery worker runs to restart itself on SIGHUP.
    sys.argv = [str(Path(__file__).with_name("__main__.py")), name]
    # What the parent does at its end is not the child's to do.
    atexit._clear()  # noqa: SLF001 - multiprocessing leaves both to its callers, and Python has no public name
    try:
        run()
    except expected_errors() as error:
        exit_with(str(error))
    finally:
        # A process of multiprocessing leaves them out.
        atexit._run_exitfuncs()  # noqa: SLF001 - see above
