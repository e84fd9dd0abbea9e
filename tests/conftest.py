"""PostgreSQL and Valkey, started once per test run; each test worker has a database that the migrations built."""

import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import psycopg
import pytest
import redis
from celery import Celery
from fastapi import FastAPI
from sqlalchemy import Engine, NullPool, create_engine, text
from xdist.scheduler import LoadScopeScheduling

from tests.support.emptying import empty_tables
from tests.support.live import LiveServer, start_live
from watcher_server.app import create_app, fresh_memory
from watcher_server.database.engine import sqlalchemy_url
from watcher_server.database.migrate import migrate
from watcher_server.embedded.account import own_account
from watcher_server.embedded.postgres import EmbeddedPostgres
from watcher_server.embedded.services import EmbeddedServices
from watcher_server.embedded.valkey import EmbeddedValkey
from watcher_server.settings import get_settings, load_settings
from watcher_server.tasking.sending.broker import redis_client
from watcher_server.tasking.sending.configuration import broker_configuration

# In CI the same examples every time, and more of them where a test leaves their number open.
hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.register_profile(
    "ci", deadline=None, derandomize=True, database=None, print_blob=True, max_examples=300
)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") == "true" else "local")

TEMPLATE = "watcher_template"
# A session that waits longer for a lock fails, and with it the test that would hang.
LOCK_SECONDS = 30
# These start engines or whole Watchers of their own, in their fixtures too.
SLOW = (
    "tests/ui/",
    "tests/demo/",
    "tests/faults/",
    "tests/cli/",
    "tests/embedded/",
    "tests/end_to_end/",
    "tests/deploy/",
    "tests/producers/",
    "tests/infrastructure/",
)
SLOW_TIMEOUT_SECONDS = 600

# These need environments of their own, which take minutes to install: `make test-producers` names the folder.
collect_ignore = ["producers"]

MakeClient = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]

_running = ExitStack()
# The engines of this run, as long as no test has needed them.
_not_started: list[EmbeddedServices] = []


def pytest_configure(config: pytest.Config) -> None:
    """Name the engines in the environment, and start them if there will be test workers.

    Without test workers the first test that needs the engines starts them. Settings of the shell are forgotten.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell has what it starts in the background ignore Ctrl-C, and so would every command that a test runs.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        # So does nohup with the end of a terminal.
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    for variable in [name for name in os.environ if name.startswith("WATCHER_") and "TEST" not in name]:
        del os.environ[variable]
    worker_id = getattr(config, "workerinput", {}).get("workerid")
    if worker_id is None:
        _prepare_engines(config)
    os.environ["WATCHER_DATABASE_URL"] = database_named(_worker_database(worker_id or "master"))
    os.environ["WATCHER_BROKER_URL"] = _broker(worker_id or "master", 0)
    get_settings.cache_clear()


def _prepare_engines(config: pytest.Config) -> None:
    home = Path(tempfile.mkdtemp(prefix="watcher-tests-")).resolve()
    # The engines run as another user.
    home.chmod(0o755)
    _running.callback(shutil.rmtree, home, ignore_errors=True)
    config.add_cleanup(_running.close)
    os.environ["WATCHER_TEST_POSTGRES"] = EmbeddedPostgres(home, own_account()).url
    os.environ["WATCHER_TEST_VALKEY"] = EmbeddedValkey(home, own_account()).url
    _not_started.append(EmbeddedServices(home))
    if config.getoption("numprocesses", None) and not config.option.collectonly:
        _start_engines()


def _start_engines() -> None:
    """Start PostgreSQL and Valkey unless they run, and migrate the database that all others are copies of."""
    while _not_started:
        _running.enter_context(_not_started.pop())
        _trust_the_machine()
        migrate(create_database(TEMPLATE, "template0"))


def _trust_the_machine() -> None:
    """Have the shared server not wait for the disk: its data ends with the run, and no test kills it.

    The tests that kill an engine start one of their own, which keeps Watcher's settings.
    """
    with psycopg.connect(os.environ["WATCHER_TEST_POSTGRES"], autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")


def database_named(name: str) -> str:
    """The URL of a database of the engine that all tests share."""
    return os.environ["WATCHER_TEST_POSTGRES"].replace("/watcher?", f"/{name}?")


def _worker_database(worker_id: str) -> str:
    return f"watcher_{worker_id}"


def create_database(name: str, template: str = TEMPLATE) -> str:
    """Create a database, migrated unless another template is given; returns its URL."""
    _start_engines()
    url = sqlalchemy_url(os.environ["WATCHER_TEST_POSTGRES"])
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))
        connection.execute(text(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'))
        connection.execute(text(f"ALTER DATABASE \"{name}\" SET lock_timeout = '{LOCK_SECONDS}s'"))
    return database_named(name)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give a test that starts processes more time than the limit in pyproject.toml."""
    if item.nodeid.startswith(SLOW) and item.get_closest_marker("timeout") is None:
        item.add_marker(pytest.mark.timeout(SLOW_TIMEOUT_SECONDS))


# Each of these shares a fixture that takes long: a cluster of processes, a browser with the demo's data.
TOGETHER = ("tests/faults/", "tests/ui/")


def scope_of(nodeid: str) -> str:
    """The folder or the file whose tests run one after another on one test worker."""
    return next((folder for folder in TOGETHER if nodeid.startswith(folder)), nodeid.partition("::")[0])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have test workers begin with what takes longest, so that none waits for another at the end.

    The tests of faults mostly wait for processes: beside others they cost little, and alone at the end they would leave
    the machine idle.
    """
    if hasattr(config, "workerinput"):
        sizes = Counter(scope_of(item.nodeid) for item in items)
        items.sort(key=lambda item: _turn(scope_of(item.nodeid), sizes))


def _turn(scope: str, sizes: Mapping[str, int]) -> tuple[bool, bool, int, str]:
    return scope not in TOGETHER, not scope.startswith(SLOW), -sizes[scope], scope


class TogetherScheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Run tests that share an expensive fixture on one test worker, so that it is built once; in the order above."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> TogetherScheduling:
    """Have the tests distributed by :class:`TogetherScheduling`."""
    # xdist would begin with the file of the most tests, which are the quickest ones.
    config.option.loadscopereorder = False
    return TogetherScheduling(config, log)


BROKERS_PER_WORKER = 3
# The broker of tests that start processes of their own; one test after another uses it.
OWN_PROCESSES = 2


def _broker(worker_id: str, number: int) -> str:
    worker = int(worker_id.removeprefix("gw")) if worker_id.startswith("gw") else 0
    url = os.environ["WATCHER_TEST_VALKEY"].partition("?")[0]
    return f"{url}?virtual_host={BROKERS_PER_WORKER * worker + number}"


def worker_broker(worker_id: str, number: int) -> str:
    """The URL of a broker of this test worker: a logical database of Valkey; that of ``OWN_PROCESSES`` is emptied."""
    _start_engines()
    broker_url = _broker(worker_id, number)
    if number == OWN_PROCESSES:
        with redis_client(broker_url) as client:
            client.flushdb()
    return broker_url


@pytest.fixture(scope="session")
def database_url(worker_id: str) -> str:
    """An empty, migrated database of this test worker, which the settings name."""
    return create_database(_worker_database(worker_id))


@pytest.fixture(scope="session")
def broker_url(worker_id: str, database_url: str) -> str:
    """The broker of the tests that start no processes. Its settings name the database too, so that is there."""
    assert database_url
    return worker_broker(worker_id, 0)


@pytest.fixture(scope="session")
def _shared_engine(database_url: str) -> Iterator[Engine]:
    engine = create_engine(sqlalchemy_url(database_url), connect_args={"options": "-c timezone=UTC"})
    yield engine
    engine.dispose()


@pytest.fixture
def engine(_shared_engine: Engine) -> Engine:
    """A sync engine on the test worker's database, every table of it empty."""
    empty_tables(_shared_engine)
    return _shared_engine


@asynccontextmanager
async def serve(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application that has started."""
    # raise_app_exceptions=False: a bug is a 500, as a user would see it.
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        yield client


@pytest.fixture(scope="session")
def _shared_app(database_url: str) -> FastAPI:
    return create_app(load_settings(relay_enabled=False, database_url=database_url))


@pytest.fixture(scope="session")
async def _shared_client(_shared_app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with serve(_shared_app) as client:
        yield client


@pytest.fixture
async def client(
    _shared_app: FastAPI, _shared_client: httpx.AsyncClient, engine: Engine
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application on an empty database; the outbox is kept, not published."""
    _shared_client.cookies.clear()
    # The application would go on believing in the tokens and pipelines of the last test; and while it reads in the
    # background, the next test could not empty the tables.
    async with fresh_memory(_shared_app):
        yield _shared_client


@pytest.fixture
def make_client(engine: Engine) -> MakeClient:
    """Clients of further applications on the same database, with settings of their own."""

    def make(**settings: Any) -> AbstractAsyncContextManager[httpx.AsyncClient]:
        return serve(create_app(load_settings(**{"relay_enabled": False, **settings})))

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
