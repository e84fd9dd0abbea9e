"""An api and a worker with settings of their own, for the tests that read what they log and send."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support.live import free_port, wait_until, watcher_process

ROOT = Path(__file__).parents[2]
READY_WITHIN_SECONDS = 60
CELERY = [sys.executable, "-m", "celery", "-A", "src.celery_app"]


@dataclass(frozen=True)
class Running:
    """Where the api answers, and the process of the worker."""

    api: httpx.Client
    api_process: "subprocess.Popen[bytes]"
    worker_process: "subprocess.Popen[bytes]"

    def stop_worker(self) -> int:
        """Let it finish; its exit status."""
        self.worker_process.terminate()
        return self.worker_process.wait(timeout=30)

    def stop_api(self) -> None:
        """Let it finish."""
        self.api_process.terminate()
        self.api_process.wait(timeout=30)


def run_command(arguments: list[str], settings: dict[str, str], logs: Path) -> "subprocess.CompletedProcess[str]":
    """``watcher …``, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "watcher_server.cli.main", *arguments],
        env={**os.environ, "WATCHER_HOME": str(logs / "home"), **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


@contextmanager
def _celery_worker(options: list[str], environment: dict[str, str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*CELERY, "worker", *options],
            env={**os.environ, **environment},
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=output,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def run_api_and_worker(
    settings: dict[str, str], logs: Path, *, worker_options: list[str] | None = None
) -> Iterator[Running]:
    """Both, ready; ``settings`` is environment, and has the URLs of their database and broker."""
    port = free_port()
    environment = {
        "WATCHER_HOME": str(logs / "home"),
        "WATCHER_PORT": str(port),
        "WATCHER_API_PROCESSES": "1",
        "WATCHER_WORKER_METRICS_PORT": "0",
        **settings,
    }
    url = f"http://127.0.0.1:{port}"
    options = ["--concurrency=2", "--loglevel=info", *(worker_options or []), "--queues=celery,scheduled,alerts"]
    with ExitStack() as stack:
        api = stack.enter_context(watcher_process(["api"], environment, logs / "api.log"))
        worker = stack.enter_context(_celery_worker(options, environment, logs / "worker.log"))
        wait_until(lambda: _is_ready(url), f"the api (its log is {logs / 'api.log'})", READY_WITHIN_SECONDS)
        client = stack.enter_context(httpx.Client(base_url=url, timeout=20))
        yield Running(client, api, worker)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/ready", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
