"""Real engines, started once per test run; a database per test worker, built by the migrations."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from celery import Celery
from fastapi import FastAPI
from sqlalchemy import Engine, NullPool, create_engine, text
from xdist.scheduler import LoadScopeScheduling

from tests.support.live import LiveServer, start_live
from watcher_server.app import create_app
from watcher_server.database.engine import sqlalchemy_url
from watcher_server.database.migrate import migrate
from watcher_server.database.models import Base
from watcher_server.embedded.services import EmbeddedServices
from watcher_server.queueing.broker import redis_client
from watcher_server.queueing.configuration import broker_configuration
from watcher_server.settings import get_settings, load_settings

TEMPLATE = "watcher_template"

MakeClient = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


def _database(url: str, name: str) -> str:
    return url.replace("/watcher?", f"/{name}?")


def create_database(name: str, template: str = TEMPLATE) -> str:
    """A new database, migrated unless another template says otherwise; its URL."""
    url = os.environ["WATCHER_TEST_POSTGRES"]
    engine = create_engine(sqlalchemy_url(url), poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))
        connection.execute(text(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'))
    return _database(url, name)


def pytest_configure(config: pytest.Config) -> None:
    """Start the engines in the process that starts the test workers; the workers find them by environment."""
    for variable in [name for name in os.environ if name.startswith("WATCHER_") and "TEST" not in name]:
        del os.environ[variable]
    if hasattr(config, "workerinput"):
        return
    home = Path(tempfile.mkdtemp(prefix="watcher-tests-"))
    home.chmod(0o755)
    running = ExitStack()
    running.callback(shutil.rmtree, home, ignore_errors=True)
    services = running.enter_context(EmbeddedServices(home))
    config.add_cleanup(running.close)
    os.environ["WATCHER_TEST_POSTGRES"] = services.database_url
    os.environ["WATCHER_TEST_VALKEY"] = services.broker_url
    migrate(create_database(TEMPLATE, "template0"))


class TogetherScheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Keep tests that share something dear on one test worker, so that it is built once."""

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith("tests/ui/"):
            return "tests/ui"
        # Each has a cluster of its own, and takes long: they fill up whichever test worker has time.
        if nodeid.startswith("tests/faults/"):
            return nodeid
        return nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> TogetherScheduling:
    """Which test worker runs what."""
    return TogetherScheduling(config, log)


BROKERS_PER_WORKER = 3


# The number of the broker that tests with processes of their own share, one after the other.
OWN_PROCESSES = 2


def worker_broker(worker_id: str, number: int) -> str:
    """A broker of this test worker: a logical database of the one Valkey; that of a test's own processes is empty."""
    worker = int(worker_id.removeprefix("gw")) if worker_id.startswith("gw") else 0
    url = os.environ["WATCHER_TEST_VALKEY"].partition("?")[0]
    broker_url = f"{url}?virtual_host={BROKERS_PER_WORKER * worker + number}"
    if number == OWN_PROCESSES:
        with redis_client(broker_url) as client:
            client.flushdb()
    return broker_url


@pytest.fixture(scope="session")
def database_url(worker_id: str) -> str:
    """An empty, migrated database of this test worker."""
    return create_database(f"watcher_{worker_id}")


@pytest.fixture(scope="session")
def broker_url(worker_id: str) -> str:
    """The broker of the tests that start no processes."""
    return worker_broker(worker_id, 0)


@pytest.fixture(scope="session", autouse=True)
def _environment(database_url: str, broker_url: str) -> None:
    os.environ["WATCHER_DATABASE_URL"] = database_url
    os.environ["WATCHER_BROKER_URL"] = broker_url
    get_settings.cache_clear()


@pytest.fixture(scope="session")
def _shared_engine(database_url: str) -> Iterator[Engine]:
    engine = create_engine(sqlalchemy_url(database_url), connect_args={"options": "-c timezone=UTC"})
    yield engine
    engine.dispose()


@pytest.fixture
def engine(_shared_engine: Engine) -> Engine:
    """A sync engine on the test worker's database, every table of it empty."""
    tables = ", ".join(table.name for table in Base.metadata.sorted_tables)
    with _shared_engine.begin() as connection:
        connection.execute(text(f"TRUNCATE {tables} RESTART IDENTITY"))
    return _shared_engine


@asynccontextmanager
async def _serve(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    # raise_app_exceptions=False: a bug is a 500, as a user would see it.
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://watcher.test") as client,
    ):
        yield client


@pytest.fixture(scope="session")
def _shared_app(_environment: None) -> FastAPI:
    return create_app(load_settings(relay_enabled=False))


@pytest.fixture(scope="session")
async def _shared_client(_shared_app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with _serve(_shared_app) as client:
        yield client


@pytest.fixture
async def client(
    _shared_app: FastAPI, _shared_client: httpx.AsyncClient, engine: Engine
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application on an empty database; the outbox is kept, not published."""
    _shared_client.cookies.clear()
    _shared_app.state.board.forget()
    yield _shared_client
    # What it reads in the background would keep the next test from emptying the tables.
    await _shared_app.state.board.close()


@pytest.fixture
def make_client(engine: Engine) -> MakeClient:
    """Clients of further applications on the same database, with settings of their own."""

    def make(**settings: Any) -> AbstractAsyncContextManager[httpx.AsyncClient]:
        return _serve(create_app(load_settings(**{"relay_enabled": False, **settings})))

    return make


@pytest.fixture(scope="session")
def live(worker_id: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A real api and a real worker, as processes, on a database and a broker of their own."""
    database_url = create_database(f"watcher_live_{worker_id}")
    logs = tmp_path_factory.mktemp("live")
    with start_live(database_url, worker_broker(worker_id, 1), logs) as server:
        yield server


@pytest.fixture
def valkey(broker_url: str) -> Iterator["redis.Redis"]:
    """A client of the test's broker, which is empty."""
    with redis_client(broker_url) as client:
        client.flushdb()
        yield client
        client.flushdb()


@pytest.fixture
def publisher(valkey: "redis.Redis") -> Iterator[Celery]:
    """An application that sends straight to the test's broker, which is empty."""
    assert valkey.ping()
    with Celery("tests", set_as_current=False) as app:
        app.conf.update(broker_configuration(get_settings()))
        yield app
