"""The diagnosis of engines that are in trouble, really."""

import asyncio
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Connection, Engine, insert, make_url, text

from tests.conftest import MakeClient
from tests.support.rows import ago
from watcher_server.diagnostics import sessions
from watcher_server.embedded.services import EmbeddedServices
from watcher_server.tasking.models import QueueDepthSample

Checks = dict[str, dict[str, str]]


async def read_checks(client: httpx.AsyncClient, section: str) -> Checks:
    """The checks of a section as the report has them, by title."""
    report = (await client.get("/diagnostics/report.json")).json()
    return {check["check"]: check for check in report["sections"][section]}


async def _wait_for(condition: Callable[[], Awaitable[bool]], what: str, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, f"{what} was not seen within {seconds} s"
        await asyncio.sleep(0.1)


@asynccontextmanager
async def _kept_waiting(engine: Engine, statement: str) -> AsyncIterator[None]:
    """A session that waits for a lock until the block ends."""

    def wait() -> None:
        with engine.connect() as connection:
            connection.execute(text(statement))

    waiting = asyncio.create_task(asyncio.to_thread(wait))
    try:
        yield
    finally:
        await waiting


@dataclass(frozen=True)
class _OwnBroker:
    """A broker that a test may stop."""

    url: str
    stop: Callable[[], None]


@pytest.fixture
def own_broker() -> Iterator[_OwnBroker]:
    with tempfile.TemporaryDirectory(prefix="watcher-diagnosed-") as home, ExitStack() as running:
        Path(home).chmod(0o755)
        services = running.enter_context(EmbeddedServices(Path(home), postgres=False))
        yield _OwnBroker(services.broker_url, running.close)


@contextmanager
def _holding(engine: Engine, statement: str) -> Iterator[Connection]:
    with engine.connect() as connection:
        connection.execute(text(statement))
        try:
            yield connection
        finally:
            connection.rollback()


async def test_who_waits_for_whom_is_said_without_what_they_wrote(client: httpx.AsyncClient, engine: Engine) -> None:
    async def is_seen() -> bool:
        checks = await read_checks(client, "Sessions and locks")
        return checks["Waiting for locks"]["verdict"] == "look"

    with engine.connect() as holder:
        pid = holder.scalar(text("SELECT pg_backend_pid()"))
        holder.execute(text("LOCK TABLE pipeline IN ACCESS EXCLUSIVE MODE"))
        async with _kept_waiting(engine, "SELECT count(*) FROM pipeline WHERE name = 'top secret'"):
            try:
                await _wait_for(is_seen, "the wait")
                page = (await client.get("/diagnostics")).text
                report = (await client.get("/diagnostics/report.txt")).text
            finally:
                holder.rollback()

    assert "Who waits for whom" in page
    assert "AccessShareLock of pipeline" in page
    assert "LOCK TABLE pipeline IN ACCESS EXCLUSIVE MODE" in page
    assert "SELECT count(*) FROM pipeline WHERE name = &#39;…&#39;" in page
    assert f"SELECT pg_terminate_backend({pid});" in page
    # Its size would have to wait as well.
    assert "locked by another session" in page
    for text_of in (page, report):
        assert "top secret" not in text_of
    assert "1 session, the longest for" in report
    assert "LOCK TABLE" not in report


async def test_a_transaction_that_was_left_open_is_found(
    client: httpx.AsyncClient, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def is_seen() -> bool:
        checks = await read_checks(client, "Sessions and locks")
        return checks["Idle in transaction"]["verdict"] == "look"

    # Nobody waits for ten seconds here.
    monkeypatch.setattr(sessions, "IDLE_LOOK_SECONDS", 1.0)
    with _holding(engine, "SELECT 'forgotten'") as connection:
        pid = connection.scalar(text("SELECT pg_backend_pid()"))
        await _wait_for(is_seen, "the open transaction")
        page = (await client.get("/diagnostics")).text

    assert f"SELECT pg_terminate_backend({pid});" in page
    assert "idle in transaction" in page


async def test_a_locked_table_hides_only_what_it_holds(client: httpx.AsyncClient, engine: Engine) -> None:
    with _holding(engine, "LOCK TABLE outbox IN ACCESS EXCLUSIVE MODE"):
        answer = await client.get("/diagnostics")

    assert answer.status_code == 200
    assert "A table that it reads is locked by another session: see who waits for locks." in answer.text
    assert "PostgreSQL 1" in answer.text
    assert "noeviction" in answer.text


async def test_a_role_without_rights_is_told_what_it_may_not_see(
    engine: Engine, make_client: MakeClient, database_url: str, worker_id: str
) -> None:
    role = f"diagnosed_{worker_id}"
    with engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN PASSWORD 'known'"))
        connection.execute(text(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"))
    url = make_url(database_url).set(username=role, password="known").render_as_string(hide_password=False)
    try:
        with _holding(engine, "SELECT 'of the superuser'"):
            async with make_client(database_url=url) as client:
                answer = await client.get("/diagnostics")
                checks = await read_checks(client, "Database")
    finally:
        with engine.begin() as connection:
            connection.execute(text(f"DROP OWNED BY {role}"))
            connection.execute(text(f"DROP ROLE {role}"))

    assert answer.status_code == 200
    assert f"GRANT pg_monitor TO &#34;{role}&#34;;" in answer.text
    assert checks["What Watcher may see"]["verdict"] == "look"
    assert "hidden" in checks["What Watcher may see"]["now"]
    assert "of the superuser" not in answer.text


async def test_a_broker_that_is_stopped_is_missed(
    engine: Engine, make_client: MakeClient, own_broker: _OwnBroker
) -> None:
    with engine.begin() as connection:
        sample = {"queue": "celery", "ready": 0, "scheduled": 0, "outbox_pending": 0, "oldest_seconds": 0}
        moment = ago(minutes=7).replace(second=0, microsecond=0)
        connection.execute(insert(QueueDepthSample).values(sampled_at=moment, **sample))
    async with make_client(broker_url=own_broker.url) as client:
        there = await read_checks(client, "Broker")
        own_broker.stop()
        away = await read_checks(client, "Broker")
        page = (await client.get("/diagnostics")).text

    assert there["Answers"]["verdict"] == "ok"
    assert there["When its memory is full"]["now"] == "noeviction"
    assert away["Answers"]["verdict"] == "act"
    assert away["Answers"]["now"] == f"no; the last time at {moment:%Y-%m-%d %H:%M} UTC"
    assert "start it, or correct WATCHER_BROKER_URL" in page


async def test_a_broker_that_says_nothing_does_not_hold_up_the_page(make_client: MakeClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        async with make_client(broker_url=url) as client:
            page = (await client.get("/diagnostics")).text
    assert "The broker does not answer within 2 seconds" in page
    assert "PostgreSQL" in page
