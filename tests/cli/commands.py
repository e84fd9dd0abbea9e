"""The ``watcher`` command as a user runs it: real processes, with a data folder and a port of their own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

LIMIT_SECONDS = 120.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Up:
    """A ``watcher up`` in the background."""

    process: subprocess.Popen[bytes]
    output: Path

    @property
    def text(self) -> str:
        return self.output.read_text()

    def wait_for(self, words: str) -> None:
        """Wait until it has printed these words."""
        self.wait_for_count(words, 1)

    def wait_for_count(self, words: str, count: int) -> None:
        """Wait until it has printed these words so many times."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while self.text.count(words) < count:
            assert self.process.poll() is None, f"it ended with {self.process.returncode}: {self.text}"
            assert time.monotonic() < deadline, f"it never said {words!r}: {self.text}"
            time.sleep(0.05)

    def stop(self, stop_signal: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(stop_signal)
        return self.process.wait(timeout=LIMIT_SECONDS)


def _run(arguments: Sequence[str], environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "watcher_server.cli.main", *arguments],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )


@dataclass
class Watcher:
    """The command on one data folder and port."""

    home: Path
    port: int
    folder: Path
    ups: list[Up] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def run(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return _run(arguments, self.environment(settings), self.folder)

    def up(self, **settings: str) -> Up:
        """Start it and wait until it says that it runs."""
        up = self.begin(**settings)
        up.wait_for("Watcher is running")
        return up

    def begin(self, **settings: str) -> Up:
        """Start it, and do not wait."""
        output = self.folder / f"up-{len(self.ups)}.txt"
        with output.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", "watcher_server.cli.main", "up"],
                env=self.environment(settings),
                cwd=self.folder,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        self.ups.append(Up(process, output))
        return self.ups[-1]

    def run_beside(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """As :meth:`run`, without saying where the api listens: on the same data folder that can be found out."""
        environment = self.environment({})
        del environment["WATCHER_PORT"]
        return _run(arguments, environment, self.folder)

    def environment(self, settings: dict[str, str]) -> dict[str, str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("WATCHER_") and name not in {"DATABASE_URL", "REDIS_URL"}
        }
        own = {"WATCHER_HOME": str(self.home), "WATCHER_PORT": str(self.port), "WATCHER_API_PROCESSES": "1"}
        return inherited | own | {f"WATCHER_{name.upper()}": value for name, value in settings.items()}

    def get(self, path: str, token: str | None = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.get(self.url + path, headers=headers, timeout=30)

    def processes(self) -> list[str]:
        """The command lines of everything that belongs to this data folder, engines and children included."""
        marks = (f"WATCHER_HOME={self.home}\0".encode(), str(self.home).encode())
        return [
            folder.name + " " + (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            for folder in Path("/proc").iterdir()
            if folder.name.isdigit() and _belongs(folder, marks)
        ]

    def kill_all(self) -> None:
        for up in self.ups:
            up.process.kill()
            up.process.wait()
        deadline = time.monotonic() + LIMIT_SECONDS
        while left := self.processes():
            for process in left:
                _kill(int(process.split()[0]))
            assert time.monotonic() < deadline, left
            time.sleep(0.05)


def _belongs(folder: Path, marks: tuple[bytes, bytes]) -> bool:
    in_environment, in_command = marks
    try:
        command = (folder / "cmdline").read_bytes()
        # A process that has ended and was not yet waited for has no command line.
        return bool(command) and (in_environment in (folder / "environ").read_bytes() or in_command in command)
    except OSError:
        return False


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
