"""What both embedded engines have in common: a foreground child that must not outlive Watcher."""

import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import IO, ClassVar

from watcher_server.embedded.account import Account
from watcher_server.embedded.process import die_with_parent


class Engine(ABC):
    """One server with its data in a folder of WATCHER_HOME.

    ``stop_signals`` are sent one after the other, each with the seconds that the server then has to end. The first is
    also what the kernel sends when Watcher dies.
    """

    name: ClassVar[str]
    folder: ClassVar[str]
    stop_signals: ClassVar[Sequence[tuple[signal.Signals, float]]]

    def __init__(self, home: Path, account: Account) -> None:
        self._home = home
        self._account = account
        self._data = home / self.folder
        self._sockets = self._data
        self.log = home / "logs" / f"{self.folder}.log"
        self._child: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients connect to."""

    @abstractmethod
    def start(self) -> None:
        """Start the server and wait until it answers; raises EmbeddedError if it did not start."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether the server takes requests now."""

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs, else None."""
        return self._child.pid if self._child is not None and self._child.poll() is None else None

    def prepare_stop(self) -> None:  # noqa: B027 - there need be nothing
        """Begin with what makes the stop short, and do not wait; the server still takes requests."""

    def stop(self) -> None:
        """Have the server write what it must and end; kill it when it takes too long."""
        if self._child is None:
            return
        for stop_signal, seconds in self.stop_signals:
            if self._child.poll() is not None:
                return
            self._child.send_signal(stop_signal)
            try:
                self._child.wait(timeout=seconds)
            except subprocess.TimeoutExpired:
                continue
        if self._child.poll() is None:
            self._child.kill()
            self._child.wait(timeout=5)

    def _launch(self, command: Sequence[str | Path], limit_seconds: float) -> bool:
        """Start the server and wait until it answers; False, and it is stopped, when it ended or took too long."""
        if self.log.exists() and self.log.stat().st_size > 10 * 1024 * 1024:
            self.log.replace(self.log.with_name(self.log.name + ".1"))
        with self.log.open("ab") as log:
            self._child = self._spawn(command, self._data, stdout=log, stderr=log)
        deadline = time.monotonic() + limit_seconds
        while self.pid is not None and time.monotonic() < deadline:
            if self._answers():
                return True
            time.sleep(0.03)
        self.stop()
        return False

    def _spawn(
        self, command: Sequence[str | Path], folder: Path, *, stdout: int | IO[bytes], stderr: int | IO[bytes]
    ) -> subprocess.Popen[bytes]:
        """Start a direct child as the engines' account. In a session of its own, no terminal's Ctrl-C reaches it."""
        switches = self._account.switches
        return subprocess.Popen(
            [str(part) for part in command],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            # Only the path of the caller's environment: PGOPTIONS, LD_PRELOAD and locales are left out.
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
            start_new_session=True,
            preexec_fn=die_with_parent(self.stop_signals[0][0]),  # noqa: PLW1509 - one system call, then the program
            user=self._account.uid if switches else None,
            group=self._account.gid if switches else None,
            extra_groups=[] if switches else None,
        )

    def _last_lines(self, count: int = 3) -> str:
        """The last lines of the log in one line, for an error message; empty when there is none."""
        if not self.log.exists():
            return ""
        lines = self.log.read_text(errors="replace").splitlines()
        return " / ".join(line.strip() for line in lines[-count:])
