"""Keeping the processes of ``watcher up`` running, and stopping them in order."""

import signal
import sys
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from watcher_server.cli.children import Child, kill_group
from watcher_server.cli.errors import CommandError
from watcher_server.cli.signals import StopSignals
from watcher_server.embedded.engine import Engine
from watcher_server.embedded.lock import HomeLock
from watcher_server.embedded.process import end_leftover, wait_for_an_end
from watcher_server.embedded.running import last_published

_DEATHS_LIMIT = 5
_DEATHS_WINDOW_SECONDS = 60.0


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
        while True:
            self.restart_what_ended()
            pids = [engine.pid for engine in self._engines] + [child.pid for child in self._children]
            running = [pid for pid in pids if pid]
            # An engine without one has ended since.
            if len(running) == len(pids):
                wait_for_an_end(running)

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
        # On a full disk other commands see the process ids of before, and the next start ends nothing by them.
        with suppress(OSError):
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
        """Stop the children, all at once: a task that one still makes is kept, and runs after the next start."""
        # From here on a signal means that the user hurries.
        self._signals.stopping = True
        for child in self._children:
            child.terminate()
        for engine in self._engines:
            engine.prepare_stop()
        for child in self._children:
            child.stop(self._signals)


def end_leftover_children(home: Path) -> None:
    """End the processes of an earlier ``watcher up`` that was killed.

    Raises:
        EmbeddedError: it was not killed, but runs.
    """
    published = last_published(home)
    if published is None or not published.command:
        return
    # Under the lock: another start at this moment may have children already.
    with HomeLock(home):
        for pid in published.children:
            if end_leftover(pid, published.command, ((signal.SIGTERM, 3.0),)):
                kill_group(pid)


def _say(sentence: str) -> None:
    sys.stderr.write(f"watcher: {sentence}\n")
