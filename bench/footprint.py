"""What `watcher up` takes of a machine: memory and processes, CPU while nothing happens, its start and its stop.

Memory is PSS: what processes share counts once. Two starts on one new home; the demo between them if asked for.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
from rich.console import Console
from rich.table import Table

from tests.support.live import free_port, wait_until

_START_SECONDS = 180
_STOP_SECONDS = 60
_DEMO_SECONDS = 3600
# What the processes that have just started still do is not what they take while nothing happens.
_SETTLE_SECONDS = 15

_AIMS = {
    "memory after the start (MB)": 450,
    "memory after the demo (MB)": 550,
    "CPU while nothing happens (% of a core)": 1.0,
    "first answer of the second start (s)": 4.0,
    "stop (s)": 3.0,
    "the demo (s)": 120,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument(
        "--idle-seconds", type=int, default=120, help="how long to watch nothing happen (3600 is an hour)"
    )
    parser.add_argument("--demo", action="store_true", help="replay the demo too, which takes minutes")


def run(arguments: argparse.Namespace, console: Console) -> None:
    """Measure and print."""
    home = Path(tempfile.mkdtemp(prefix="watcher-bench-"))
    home.chmod(0o755)
    measured: dict[str, float] = {}
    try:
        with _up(home) as up:
            measured["first answer of the first start (s)"] = up.first_answer
            measured["CPU of the first start (s)"] = up.cpu_seconds()
            time.sleep(_SETTLE_SECONDS)
            measured["memory after the start (MB)"] = up.memory()
            measured["processes after the start"] = len(up.processes())
            before = up.cpu_seconds()
            time.sleep(arguments.idle_seconds)
            idle = up.cpu_seconds() - before
            measured["CPU while nothing happens (% of a core)"] = 100 * idle / arguments.idle_seconds
            if arguments.demo:
                _replay_demo(up, measured)
        measured["stop (s)"] = up.stop_seconds
        with _up(home) as up:
            measured["first answer of the second start (s)"] = up.first_answer
            measured["CPU of the second start (s)"] = up.cpu_seconds()
            time.sleep(_SETTLE_SECONDS)
        measured["second stop (s)"] = up.stop_seconds
    finally:
        shutil.rmtree(home, ignore_errors=True)
    console.print(_table(measured))


def _replay_demo(up: "_Up", measured: dict[str, float]) -> None:
    children = os.times()
    up_before, began = up.cpu_seconds(), time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "watcher_server.cli", "demo"],
        env=up.environment,
        stdout=subprocess.DEVNULL,
        timeout=_DEMO_SECONDS,
        check=True,
    )
    after = os.times()
    measured["the demo (s)"] = time.monotonic() - began
    measured["CPU of the demo's command (s)"] = (
        after.children_user + after.children_system - children.children_user - children.children_system
    )
    measured["CPU of Watcher meanwhile (s)"] = up.cpu_seconds() - up_before
    time.sleep(_SETTLE_SECONDS)
    measured["memory after the demo (MB)"] = up.memory()
    measured["processes after the demo"] = len(up.processes())


class _Up:
    """A ``watcher up`` on a home, from its start to its first answer."""

    def __init__(self, home: Path) -> None:
        port = free_port()
        self.stop_seconds = 0.0
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("WATCHER_")},
            "WATCHER_HOME": str(home),
            "WATCHER_PORT": str(port),
        }
        began = time.monotonic()
        self._process = psutil.Popen(
            [sys.executable, "-m", "watcher_server.cli", "up"], env=self.environment, stdout=subprocess.DEVNULL
        )
        wait_until(lambda: _answers(port), "the first answer", _START_SECONDS)
        self.first_answer = time.monotonic() - began

    def processes(self) -> list[psutil.Process]:
        """Everything that it has started, and itself."""
        return [self._process, *self._process.children(recursive=True)]

    def memory(self) -> float:
        """The proportional set size of all of them in megabytes (10^6 bytes)."""
        return float(sum(process.memory_full_info().pss for process in self.processes())) / 1e6

    def cpu_seconds(self) -> float:
        """What all of them have taken; those that have ended count with their parents."""
        total = 0.0
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
        return total

    def stop(self) -> None:
        """Press Ctrl-C."""
        began = time.monotonic()
        self._process.send_signal(signal.SIGINT)
        self._process.wait(_STOP_SECONDS)
        self.stop_seconds = time.monotonic() - began


@contextmanager
def _up(home: Path) -> Iterator[_Up]:
    up = _Up(home)
    try:
        yield up
    finally:
        up.stop()


def _answers(port: int) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"http://127.0.0.1:{port}/health/ready", timeout=5).is_success
    return False


def _table(measured: dict[str, float]) -> Table:
    table = Table("watcher up", "measured", "aim", title="Footprint")
    for what, value in measured.items():
        aim = _AIMS.get(what)
        table.add_row(what, f"{value:,.1f}" if value % 1 else f"{value:,.0f}", "" if aim is None else f"≤ {aim:g}")
    return table
