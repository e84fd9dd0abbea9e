"""Keeping the processes of ``watcher up`` running, and stopping them in order."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from watcher_server.cli.errors import CommandError
from watcher_server.cli.signals import StopSignals
from watcher_server.embedded.engine import Engine
from watcher_server.embedded.process import die_with_parent, end_leftover
from watcher_server.embedded.running import last_published

_DEATHS_LIMIT = 5
_DEATHS_WINDOW_SECONDS = 60.0


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
        """Let it finish within its grace, unless the user hurries; then end its whole process group."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.terminate()
        self._wait(self.process, self.grace_seconds, lambda: signals.impatient)
        if self.drop_signal is not None and self.process.poll() is None:
            self.process.send_signal(self.drop_signal)
            self._wait(self.process, 3.0, lambda: False)
        self.end_group()

    @staticmethod
    def _wait(process: subprocess.Popen[bytes], seconds: float, enough: Callable[[], bool]) -> None:
        deadline = time.monotonic() + seconds
        while process.poll() is None and time.monotonic() < deadline and not enough():
            time.sleep(0.03)

    def end_group(self) -> None:
        """Kill what is left of its process group: a process that dies leaves its children behind."""
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
        self._deaths: defaultdict[str, deque[float]] = defaultdict(deque)

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
            pause.wait(0.25)

    def restart_what_ended(self) -> None:
        """Start again what does not run, and say so in a line."""
        # Engines first: the children end without them.
        for engine in self._engines:
            if engine.pid is None:
                self._count(engine.name, f"read the logs in {engine.log.parent}")
                engine.start()
                _say(f"{engine.name} ended unexpectedly and was started again.")
        for child in self._children:
            status = child.status()
            if status is not None:
                self._restart(child, status)

    def _restart(self, child: Child, status: int) -> None:
        child.end_group()
        self._count(f"The {child.name}", f"read its messages above, or run `watcher {child.name}` by itself")
        child.start(self._environment)
        self._changed()
        cause = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
        _say(f"The {child.name} ended unexpectedly ({cause}) and was started again.")

    def _count(self, name: str, advice: str) -> None:
        deaths, now = self._deaths[name], time.monotonic()
        deaths.append(now)
        while deaths[0] < now - _DEATHS_WINDOW_SECONDS:
            deaths.popleft()
        if len(deaths) >= _DEATHS_LIMIT:
            raise CommandError(
                f"{name} ended {_DEATHS_LIMIT} times within {_DEATHS_WINDOW_SECONDS:.0f} seconds: {advice}."
            )

    def stop(self) -> None:
        """Stop the children one after the other."""
        # From here on a signal means that the user hurries.
        self._signals.stopping = True
        for child in self._children:
            child.stop(self._signals)


def end_leftover_children(home: Path) -> None:
    """End the processes of an earlier ``watcher up`` that was killed. None may run on this home now."""
    published = last_published(home)
    for pid in published.children if published is not None else []:
        # The command line of every child contains this.
        if end_leftover(pid, "watcher_server.cli", ((signal.SIGTERM, 3.0),)):
            kill_group(pid)


def kill_group(pid: int) -> None:
    """Kill a process group, if it still has a member."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _say(sentence: str) -> None:
    sys.stderr.write(f"watcher: {sentence}\n")
