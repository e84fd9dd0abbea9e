"""A real api and a real worker in processes of their own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import httpx

READY_WITHIN_SECONDS = 60
STOP_WITHIN_SECONDS = 20


@dataclass(frozen=True)
class LiveServer:
    """The api's URL, and the database, broker and log folder of the api and its worker."""

    url: str
    database_url: str
    broker_url: str
    logs: Path


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
    """Wait until the condition is true; after ``seconds`` fail, naming ``what`` was waited for."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {seconds} s")
        time.sleep(0.05)


@contextmanager
def watcher_process(arguments: list[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``watcher`` with these arguments until the block ends; its output goes to the log."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "watcher_server.cli.main", *arguments],
            env={**os.environ, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_WITHIN_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/ready", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


@contextmanager
def start_live(
    database_url: str,
    broker_url: str,
    logs: Path,
    *,
    api_processes: int = 1,
    port: int | None = None,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[LiveServer]:
    """Start an api and a worker; both are ready when the block begins, and stopped when it ends."""
    port = port or free_port()
    environment = {
        "WATCHER_HOME": str(logs / "home"),
        "WATCHER_DATABASE_URL": database_url,
        "WATCHER_BROKER_URL": broker_url,
        "WATCHER_PORT": str(port),
        "WATCHER_API_PROCESSES": str(api_processes),
        **settings,
    }
    url = f"http://127.0.0.1:{port}"
    with ExitStack() as stack:
        stack.enter_context(watcher_process(["api"], environment, logs / "api.log"))
        stack.enter_context(watcher_process(["worker"], environment, logs / "worker.log"))
        wait_until(lambda: _is_ready(url), f"the api (its log is {logs / 'api.log'})", READY_WITHIN_SECONDS)
        yield LiveServer(url, database_url, broker_url, logs)
