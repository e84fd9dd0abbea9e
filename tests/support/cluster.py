"""A whole Watcher as real processes on its own engines. Each process and engine can be killed and started again."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Self

import httpx
import psutil
from sqlalchemy import Connection, Engine, NullPool, create_engine, text

from tests.support.live import free_port, wait_until, watcher_process
from tests.support.slack import SlackSink, slack_sink
from watcher_server.alerts.config.schemas import DEFAULT
from watcher_server.database.engine import sqlalchemy_url
from watcher_server.database.migrate import migrate
from watcher_server.embedded.postgres import EmbeddedPostgres
from watcher_server.embedded.services import EmbeddedServices
from watcher_server.embedded.valkey import EmbeddedValkey

# Long enough for a busy machine.
LIMIT_SECONDS = 90

# Rate limits would only slow the tests of faults down.
WITHOUT_LIMITS = {
    "WATCHER_DETECT_ANOMALIES_RATE_LIMIT": "none",
    "WATCHER_FRESHNESS_CHECK_RATE_LIMIT": "none",
    "WATCHER_TIMELINESS_CHECK_RATE_LIMIT": "none",
    "WATCHER_LINEAGE_CLOSURE_RATE_LIMIT": "none",
    "WATCHER_EXECUTION_CLOSURE_RATE_LIMIT": "none",
}


class Part:
    """One command of Watcher as a process that can be started again under the same name."""

    def __init__(self, name: str, arguments: list[str], environment: dict[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self._arguments = arguments
        self._environment = environment
        self._started = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self._log_begins = 0

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        """The main process of the last start."""
        assert self._process is not None, f"{self.name} was never started"
        return self._process

    @property
    def runs(self) -> bool:
        """Whether the main process is running."""
        return self._process is not None and self._process.poll() is None

    @property
    def output(self) -> str:
        """The log lines since the last start."""
        with self.log.open(errors="replace") as stream:
            stream.seek(self._log_begins)
            return stream.read()

    def start(self) -> None:
        """Start it, without waiting until it is ready."""
        assert not self.runs, f"{self.name} runs already"
        self._log_begins = self.log.stat().st_size if self.log.exists() else 0
        self._process = self._started.enter_context(watcher_process(self._arguments, self._environment, self.log))

    def children(self) -> list[psutil.Process]:
        """The processes that it has forked, such as those of a worker's pool."""
        return psutil.Process(self.process.pid).children(recursive=True) if self.runs else []

    def kill(self) -> None:
        """Kill it and its children at once, as when their machine fails."""
        children = self.children()
        self.kill_main()
        for child in children:
            kill(child)

    def kill_main(self) -> None:
        """Kill the main process only, so that its children become orphans."""
        self.process.kill()
        self.process.wait()

    def suspend(self) -> None:
        """Suspend it and its children, as when their machine hangs."""
        for process in (psutil.Process(self.process.pid), *self.children()):
            process.suspend()

    def resume(self) -> None:
        """Let it and its children go on after :meth:`suspend`."""
        for process in (psutil.Process(self.process.pid), *self.children()):
            process.resume()

    def stop(self, seconds: float) -> None:
        """Terminate it as a service manager does, and wait up to ``seconds`` for its end."""
        self.process.terminate()
        wait_until(lambda: not self.runs, f"the end of {self.name}", seconds)

    def close(self) -> None:
        """Kill it and its children if they run."""
        if self.runs:
            self.kill()
        self._started.close()


def kill(process: psutil.Process) -> None:
    """Kill a process if it still runs, and wait for its end."""
    with suppress(psutil.NoSuchProcess):
        process.kill()
    wait_until(lambda: _is_dead(process), f"the end of process {process.pid}")


def _is_dead(process: psutil.Process) -> bool:
    # A process whose parent has died stays a zombie until another process reaps it.
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class Cluster:
    """Processes by name, their engines, and the Slack that their alerts go to.

    Each api listens on a port of its own: ``urls`` has its address by its name. ``sinks`` has what stands for each
    channel by its name, ``dead`` the names of those that take nothing. With a ``database_url`` that database is used in
    place of an engine of the cluster's own.
    """

    def __init__(
        self, home: Path, slack: SlackSink, settings: Mapping[str, str], database_url: str | None = None
    ) -> None:
        self.home = home
        self.slack = slack
        self.sinks: dict[str, SlackSink] = {DEFAULT: slack}
        self.dead: set[str] = set()
        self.parts: dict[str, Part] = {}
        self.urls: dict[str, str] = {}
        self._settings = settings
        self._database_url = database_url
        self._services = EmbeddedServices(home / "engines", postgres=database_url is None)

    def __enter__(self) -> Self:
        self._services.__enter__()
        self.database_url = self._database_url or self._services.database_url
        migrate(self.database_url)
        self.engine: Engine = create_engine(sqlalchemy_url(self.database_url), poolclass=NullPool)
        return self

    def __exit__(self, *exception: object) -> None:
        for part in self.parts.values():
            part.close()
        self._services.__exit__(*exception)

    def add_api(self, name: str, **settings: str) -> Part:
        """Start an api of that name."""
        port = free_port()
        self.urls[name] = f"http://127.0.0.1:{port}"
        return self._add(name, ["api"], {"WATCHER_PORT": str(port), **settings})

    def add_worker(self, name: str, *arguments: str, **settings: str) -> Part:
        """Start a worker of that name."""
        return self._add(name, ["worker", *arguments], settings)

    def add_beat(self) -> Part:
        """Start beat."""
        return self._add("beat", ["beat"], {})

    def _add(self, name: str, arguments: list[str], settings: dict[str, str]) -> Part:
        environment = {
            # Killing one process must end the api, and no test asks a worker for its metrics.
            "WATCHER_API_PROCESSES": "1",
            "WATCHER_WORKER_METRICS_PORT": "0",
            **WITHOUT_LIMITS,
            **self._settings,
            "WATCHER_HOME": str(self.home / name),
            "WATCHER_DATABASE_URL": self.database_url,
            "WATCHER_BROKER_URL": self._services.broker_url,
            "WATCHER_SLACK_WEBHOOK_URL": self.slack.url,
            **settings,
        }
        part = self.parts[name] = Part(name, arguments, environment, self.home / f"{name}.log")
        part.start()
        return part

    def start_all(self) -> None:
        """Start the engines and processes that do not run, and wait until all are ready."""
        for engine in self._services.engines:
            if engine.pid is None:
                engine.start()
        for part in self.parts.values():
            if not part.runs:
                part.start()
        for part in self.parts.values():
            self.wait_until_ready(part)

    def wait_until_ready(self, part: Part) -> None:
        """Wait until an api answers, a worker has reported itself alive, or beat has logged its start."""
        wait_until(lambda: self._is_ready(part), f"the start of {part.name}", LIMIT_SECONDS)

    def _is_ready(self, part: Part) -> bool:
        assert part.runs, f"{part.name} has ended: {part.output}"
        if part.name in self.urls:
            return _answers(self.urls[part.name])
        if part.name == "beat":
            return "beat: Starting" in part.output
        return part.process.pid in self.workers_alive()

    def workers_alive(self) -> set[int]:
        """The process ids of the workers that reported themselves alive within the last 4 seconds."""
        with self.connect() as connection:
            alive = "stopped_at IS NULL AND seen_at > now() - interval '4 seconds'"
            return set(connection.scalars(text(f"SELECT pid FROM worker WHERE {alive}")))

    def wait_until_published(self) -> None:
        """Wait until the relay has published the whole outbox."""
        with self.connect() as connection:
            empty = text("SELECT NOT EXISTS (SELECT FROM outbox)")
            wait_until(lambda: bool(connection.scalar(empty)), "the outbox emptying", LIMIT_SECONDS)

    @property
    def database(self) -> EmbeddedPostgres:
        """PostgreSQL."""
        return next(engine for engine in self._services.engines if isinstance(engine, EmbeddedPostgres))

    @property
    def broker(self) -> EmbeddedValkey:
        """Valkey."""
        return next(engine for engine in self._services.engines if isinstance(engine, EmbeddedValkey))

    @property
    def broker_url(self) -> str:
        """The URL of the broker."""
        return self._services.broker_url

    def kill_broker(self) -> None:
        """Kill Valkey; ``broker.start()`` starts it again with the data on disk."""
        pid = self.broker.pid
        assert pid is not None, "the broker does not run"
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: self.broker.pid is None, "the broker's end")

    def kill_database(self) -> None:
        """Kill every process of PostgreSQL; ``database.start()`` starts it again with the data on disk."""
        pid = self.database.pid
        assert pid is not None, "the database does not run"
        server = psutil.Process(pid)
        sessions = server.children()
        for process in (server, *sessions):
            kill(process)
        wait_until(lambda: self.database.pid is None, "the database's end")

    def empty_broker(self) -> None:
        """Delete the data of a broker that does not run, as if it had been replaced by a new one."""
        for path in (self.home / "engines" / "valkey").iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A connection whose statements commit one by one."""
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            yield connection


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/live", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


@contextmanager
def start_cluster(settings: Mapping[str, str], database_url: str | None = None) -> Iterator[Cluster]:
    """Start engines and a Slack for processes that the caller adds. Their folder is deleted when the block ends.

    ``settings`` are environment variables of all processes.
    """
    # The engines run as another user, who may not enter pytest's temporary folders.
    home = Path(tempfile.mkdtemp(prefix="watcher-cluster-"))
    home.chmod(0o755)
    try:
        with slack_sink() as slack, Cluster(home, slack, settings, database_url) as cluster:
            yield cluster
    finally:
        shutil.rmtree(home, ignore_errors=True)
