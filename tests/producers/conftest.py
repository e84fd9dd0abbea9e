"""A Watcher as processes, and what runs producers against it by two variables alone."""

import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text

from tests.conftest import OWN_PROCESSES, create_database, worker_broker
from tests.producers.findings import Findings
from tests.support.live import start_live, wait_until
from watcher_server.auth.service import create_token
from watcher_server.database.engine import sqlalchemy_url

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
# Airflow writes its database, and each of these loads much.
MOST_SECONDS = 300


@dataclass(frozen=True)
class Receiver:
    """A Watcher and a token that may send events and nothing else."""

    url: str
    token: str
    engine: Engine

    def variables(self) -> dict[str, str]:
        """All that a producer has to know of it."""
        return {"OPENLINEAGE_URL": self.url, "OPENLINEAGE_API_KEY": self.token}

    def found(self, namespace: str) -> Findings:
        """What became of the events of a namespace, once all of them are applied; it is printed."""
        told: list[str] = []
        wait_until(lambda: self._is_done(told), "the events that wait were applied", 60)
        findings = Findings(self.engine, namespace)
        print(findings.told(), flush=True)
        return findings

    def _is_done(self, told: list[str]) -> bool:
        counted = "SELECT count(*) FILTER (WHERE applied_at IS NOT NULL), count(*) FROM openlineage_event"
        with self.engine.connect() as connection:
            applied, received = connection.execute(text(counted)).one()
            failed = connection.scalar(text("SELECT count(*) FROM openlineage_failed_event"))
        progress = f"  {applied:,} of {received:,} events applied"
        if told[-1:] != [progress]:
            print(progress, flush=True)
            told.append(progress)
        assert failed == 0
        return bool(received and applied == received)


@pytest.fixture(scope="session")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """An api that wants tokens, and a worker."""
    database_url = create_database("watcher_producers")
    engine = create_engine(sqlalchemy_url(database_url))
    with engine.begin() as connection:
        token = create_token(connection, "producers", "ingest")
    logs = tmp_path_factory.mktemp("live")
    with start_live(database_url, worker_broker("master", OWN_PROCESSES), logs) as server:
        print(f"\nWatcher is at {server.url}, its logs in {logs}")
        yield Receiver(server.url, token, engine)
    engine.dispose()


@dataclass(frozen=True)
class Producer:
    """An environment with a tool that sends events."""

    folder: Path

    def run(self, command: Sequence[str], variables: Mapping[str, str], *, directory: Path, fails: bool = False) -> str:
        """Run a command of it; what it printed.

        Args:
            command: the name of a program of the environment, and its arguments.
            variables: added to those that every program needs.
            directory: where it runs.
            fails: whether it is to end with an error.
        """
        inherited = {name: os.environ[name] for name in ("HOME", "LANG", "TZ", "TMPDIR") if name in os.environ}
        inherited["PATH"] = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        print(f"\n$ {' '.join(command)}", flush=True)
        began = time.monotonic()
        done = subprocess.run(
            list(command), env={**inherited, **variables}, cwd=directory, timeout=MOST_SECONDS,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        print(f"  ended with {done.returncode} after {time.monotonic() - began:.0f} s", flush=True)
        assert bool(done.returncode) is fails, done.stdout[-5_000:]
        return done.stdout


def producer(name: str) -> Producer:
    """The environment that ``make test-producers`` made for a tool."""
    folder = ROOT / f".venv-producer-{name}"
    if not (folder / ".ready").exists():
        pytest.fail(f"{name} is not installed: `make test-producers` does it, or `make {folder.name}/.ready`")
    return Producer(folder)
