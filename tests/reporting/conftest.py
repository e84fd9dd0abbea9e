"""Days begin and end when a test says so: the tests of reports have a database with a clock of their own."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import Engine, create_engine

from tests.conftest import create_database, serve
from tests.reporting.model import noon
from tests.support.clock import DatabaseClock, stop_clock
from tests.support.emptying import empty_tables
from watcher_server.app import create_app, fresh_memory
from watcher_server.database import engine as engines
from watcher_server.database.engine import sqlalchemy_url
from watcher_server.settings import get_settings, load_settings


@pytest.fixture(scope="session")
def clock_database_url(worker_id: str) -> str:
    """A database that only the tests of reports use."""
    return create_database(f"watcher_clock_{worker_id}")


@pytest.fixture(scope="session")
def _stopped_clock(clock_database_url: str) -> Iterator[DatabaseClock]:
    with stop_clock(clock_database_url) as clock:
        yield clock


@pytest.fixture(autouse=True)
def clock(
    _stopped_clock: DatabaseClock, clock_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[DatabaseClock]:
    """The clock of the api and of the tasks; it is noon."""
    _stopped_clock.set(noon(0))
    monkeypatch.setenv("WATCHER_DATABASE_URL", clock_database_url)
    _forget_engine()
    yield _stopped_clock
    monkeypatch.undo()
    _forget_engine()


def _forget_engine() -> None:
    """Have the tasks read anew where their database is."""
    get_settings.cache_clear()
    engines._sync_engine_of.cache_clear()  # noqa: SLF001 - no process changes its database, but for this one


@pytest.fixture(scope="session")
def _clock_engine(clock_database_url: str, _stopped_clock: DatabaseClock) -> Iterator[Engine]:
    engine = create_engine(sqlalchemy_url(clock_database_url), connect_args={"options": "-c timezone=UTC"})
    yield engine
    engine.dispose()


@pytest.fixture
def engine(_clock_engine: Engine) -> Engine:
    """A sync engine on that database, every table of it empty."""
    empty_tables(_clock_engine)
    return _clock_engine


@pytest.fixture(scope="session")
def _clock_app(clock_database_url: str) -> FastAPI:
    return create_app(load_settings(relay_enabled=False, database_url=clock_database_url))


@pytest.fixture(scope="session")
async def _clock_client(_clock_app: FastAPI, _clock_engine: Engine) -> AsyncIterator[httpx.AsyncClient]:
    async with serve(_clock_app) as client:
        yield client


@pytest.fixture
async def client(
    _clock_app: FastAPI, _clock_client: httpx.AsyncClient, engine: Engine
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application on that database."""
    async with fresh_memory(_clock_app):
        yield _clock_client
