"""Keeping the processes of ``watcher up`` alive, and ending them in order."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from watcher_server.cli.errors import CommandError
from watcher_server.cli.signals import StopSignals
from watcher_server.embedded.process import die_with_parent, end_leftover
from watcher_server.embedded.running import last_published
from watcher_server.embedded.services import Engine

_LOOK_EVERY_SECONDS = 0.25
_DROP_SECONDS = 3.0
_DEATHS_LIMIT = 5
_DEATHS_WINDOW_SECONDS = 60.0
# What the command line of every child contains.
_MARK = "watcher_server.cli."


@dataclass
class Child:
    """One of Watcher's own processes, with the seconds it gets to finish what it is doing.

    ``module`` is what Python runs, with arguments; ``drop_signal`` tells it to drop what it has not finished by then.
    """

    name: str
    module: tuple[str, ...]
    grace_seconds: float
    drop_signal: signal.Signals | None = None
    process: subprocess.Popen[bytes] | None = None
    deaths: deque[float] = field(default_factory=deque)

    @property
    def pid(self) -> int:
        """Its process id, which is its process group's too; 0 before it was started."""
        return self.process.pid if self.process is not None else 0

    def start(self, environment: Mapping[str, str]) -> None:
        """Start it in a session of its own: a terminal's Ctrl-C reaches only the parent."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", *self.module],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509 - one system call, then the program
        )

    def status(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        return self.process.poll() if self.process is not None else None

    def stop(self, signals: StopSignals) -> None:
        """Let it finish, for so long as it may and nobody is impatient; then end its whole group."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.terminate()
        self._wait(self.process, self.grace_seconds, lambda: signals.impatient)
        if self.drop_signal is not None and self.process.poll() is None:
            self.process.send_signal(self.drop_signal)
            self._wait(self.process, _DROP_SECONDS, lambda: False)
        self.end_group()

    @staticmethod
    def _wait(process: subprocess.Popen[bytes], seconds: float, enough: Callable[[], bool]) -> None:
        deadline = time.monotonic() + seconds
        while process.poll() is None and time.monotonic() < deadline and not enough():
            time.sleep(0.03)

    def end_group(self) -> None:
        """Kill what is left of it: a process that dies suddenly leaves its own children behind."""
        if self.process is None:
            return
        kill_group(self.pid)
        self.process.wait()


class Supervisor:
    """Starts the children, starts again what ends by itself, and stops them in the order given."""

    def __init__(
        self,
        children: Sequence[Child],
        engines: Sequence[Engine],
        environment: Mapping[str, str],
        signals: StopSignals,
        *,
        changed: Callable[[], None],
    ) -> None:
        self._children = children
        self._engines = engines
        self._environment = environment
        self._signals = signals
        self._changed = changed
        self._engine_deaths: dict[str, deque[float]] = {engine.name: deque() for engine in engines}

    def start(self) -> None:
        """Start every child."""
        for child in self._children:
            child.start(self._environment)
        self._changed()

    def watch(self) -> None:
        """Look after children and engines until a signal interrupts.

        Raises:
            CommandError: one of them keeps ending.
            KeyboardInterrupt: it is time to stop.
        """
        pause = threading.Event()
        while True:
            self.restart_what_ended()
            pause.wait(_LOOK_EVERY_SECONDS)

    def restart_what_ended(self) -> None:
        """Start again, with a line that says so, whatever is not running."""
        # Engines first: without them the children cannot live either.
        for engine in self._engines:
            if engine.pid is None:
                self._count(engine.name, self._engine_deaths[engine.name], f"read the logs in {engine.log.parent}")
                engine.start()
                _say(f"{engine.name} ended unexpectedly and was started again.")
        for child in self._children:
            status = child.status()
            if status is not None:
                self._restart(child, status)

    def _restart(self, child: Child, status: int) -> None:
        child.end_group()
        advice = f"read its messages above, or run `watcher {child.name}` by itself"
        self._count(f"The {child.name}", child.deaths, advice)
        child.start(self._environment)
        self._changed()
        _say(f"The {child.name} ended unexpectedly ({_describe(status)}) and was started again.")

    @staticmethod
    def _count(name: str, deaths: deque[float], advice: str) -> None:
        now = time.monotonic()
        deaths.append(now)
        while deaths[0] < now - _DEATHS_WINDOW_SECONDS:
            deaths.popleft()
        if len(deaths) >= _DEATHS_LIMIT:
            raise CommandError(
                f"{name} ended {_DEATHS_LIMIT} times within {_DEATHS_WINDOW_SECONDS:.0f} seconds: {advice}."
            )

    def stop(self) -> None:
        """Stop the children one after the other."""
        # From here on a signal means haste, whatever the reason for stopping was.
        self._signals.stopping = True
        for child in self._children:
            child.stop(self._signals)


def end_leftover_children(home: Path) -> None:
    """End what an earlier, killed ``watcher up`` left behind; only while none runs on this home."""
    published = last_published(home)
    for pid in published.children if published is not None else []:
        if end_leftover(pid, _MARK, ((signal.SIGTERM, 3.0),)):
            kill_group(pid)


def kill_group(pid: int) -> None:
    """Kill a process group; nothing happens when it has no member any more."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _describe(status: int) -> str:
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"


def _say(sentence: str) -> None:
    sys.stderr.write(f"watcher: {sentence}\n")
