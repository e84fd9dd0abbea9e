"""What pipelines ask for with each run takes one statement, and writes nothing where nothing changes."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from psycopg import RawCursor
from psycopg.types.numeric import Int8Dumper
from sqlalchemy import Engine, event, text

from tests.support.factories import end, make_pipeline, start
from tests.support.rows import add_history, now
from watcher_server.celery_tasks import address_lineage_closure_rebuild_task
from watcher_server.database import statements
from watcher_server.database.ingest_pool import IngestConnection
from watcher_server.executions.statements import END_STATEMENT, START_STATEMENT
from watcher_server.pipelines.usual import FIND, MOVE_BY

ADDRESS = {"address_type_name": "postgres", "address_type_group_name": "database"}
ORDERS = {"name": "orders", "pipeline_type_name": "extraction", "pipeline_metadata": {"team": "sales"}}
LINEAGE = {
    "pipeline_id": 1,
    "source_addresses": [{"name": "shop.public.orders", **ADDRESS}],
    "target_addresses": [{"name": "shop.public.sums", **ADDRESS}],
}


class Sent:
    """The statements that the application has sent for requests, with their parameters."""

    def __init__(self) -> None:
        self.direct: list[tuple[bytes, list[Any]]] = []
        self.by_session: list[str] = []

    def by_engine(self, statement: str) -> None:
        """Note one of SQLAlchemy's; the token book reads in the background, for no request."""
        task = asyncio.current_task()
        if task is None or task.get_name() != "token-book":
            self.by_session.append(statement)


@pytest.fixture(name="app")
def served_app(_shared_app: FastAPI) -> FastAPI:
    """The application that the client asks."""
    return _shared_app


@pytest.fixture
def sent(app: FastAPI, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sent]:
    noted = Sent()

    async def fetch_first(self: IngestConnection, sql: bytes, values: list[Any]) -> Any:
        noted.direct.append((sql, values))
        return await found(self, sql, values)

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        noted.by_engine(statement)

    assert client
    found = IngestConnection.fetch_first
    monkeypatch.setattr(IngestConnection, "fetch_first", fetch_first)
    engine = app.state.query_engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    yield noted
    event.remove(engine, "before_cursor_execute", note)


@pytest.fixture
async def known(client: httpx.AsyncClient) -> None:
    """A pipeline that has run, with its lineage and an address whose type tells names apart by their case."""
    files = {"name": "lake", "group_name": "file", "case_sensitive": True}
    assert (await client.post("/pipeline", json={**ORDERS, "next_watermark": 7})).status_code == 201
    assert (await client.post("/address_lineage", json=LINEAGE)).status_code == 201
    assert (await client.post("/address_type", json=files)).status_code == 201
    assert (await client.post("/address", json=FILE)).status_code == 201
    assert (await end(client, await start(client, 1), total_rows=3)).status_code == 204


FILE = {"name": "Lake/Orders.csv", "address_type_name": "lake", "address_type_group_name": "file"}


def has_written(database_url: str, noted: Sent) -> bool:
    """Whether these statements, once more and in a transaction, make it one that writes."""
    with psycopg.connect(database_url) as connection:
        connection.adapters.register_dumper(int, Int8Dumper)
        for statement, parameters in noted.direct:
            RawCursor(connection).execute(statement, parameters)
        row = connection.execute("SELECT pg_current_xact_id_if_assigned()").fetchone()
        connection.rollback()
    assert row is not None
    return row[0] is not None


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    "asked",
    [
        ("POST", "/pipeline", ORDERS),
        ("POST", "/pipeline", {**ORDERS, "name": " Orders", "next_watermark": "7"}),
        ("POST", "/address_lineage", LINEAGE),
        ("POST", "/address", {"name": "Shop.Public.Orders", **ADDRESS}),
        ("POST", "/address", FILE),
        ("GET", "/pipeline/1", None),
        ("GET", "/pipeline_execution/1", None),
    ],
)
async def test_what_changes_nothing_is_one_statement_that_writes_nothing(
    client: httpx.AsyncClient, sent: Sent, database_url: str, asked: tuple[str, str, Any]
) -> None:
    sent.direct.clear()
    sent.by_session.clear()

    answer = await client.request(*asked[:2], json=asked[2])

    assert answer.status_code == 200, answer.text
    assert (len(sent.direct), sent.by_session) == (1, [])
    assert not has_written(database_url, sent)


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("load_lineage", [True, False])
async def test_lineage_that_is_loaded_again_unchanged_is_one_statement_that_writes_nothing(
    client: httpx.AsyncClient, sent: Sent, database_url: str, load_lineage: bool
) -> None:
    addresses = [address["id"] for address in (await client.get("/address")).json()]
    address_lineage_closure_rebuild_task(connected_addresses=addresses, pipeline_id=1)
    await client.patch("/pipeline", json={"id": 1, "load_lineage": load_lineage})
    sent.direct.clear()
    sent.by_session.clear()

    answer = await client.post("/address_lineage", json={**LINEAGE, "replace": not load_lineage})

    assert (answer.status_code, answer.json()["lineage_relationships_created"]) == (201, 1)
    assert (len(sent.direct), sent.by_session) == (1, [])
    assert not has_written(database_url, sent)


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    "asked",
    [
        ("POST", "/pipeline", {**ORDERS, "next_watermark": "8"}),
        ("PATCH", "/pipeline", {"id": 1, "watermark": "2026-03-01"}),
        ("PATCH", "/pipeline", {"name": "Orders", "next_watermark": 9, "watermark": None}),
        ("POST", "/start_pipeline_execution", {"pipeline_id": 1}),
    ],
)
async def test_what_each_run_writes_is_one_statement(
    client: httpx.AsyncClient, sent: Sent, asked: tuple[str, str, Any]
) -> None:
    sent.direct.clear()
    sent.by_session.clear()

    answer = await client.request(*asked[:2], json=asked[2])

    assert answer.is_success, answer.text
    assert (len(sent.direct), sent.by_session) == (1, [])


@pytest.mark.usefixtures("known")
async def test_a_watermark_that_is_moved_is_shown_and_is_in_the_audit_trail(client: httpx.AsyncClient) -> None:
    before = (await client.get("/pipeline/1")).json()

    shown = (await client.patch("/pipeline", json={"id": 1, "watermark": 12, "unheard_of": 1})).json()

    assert shown.pop("ignored") == ["unheard_of"]
    after = (await client.get("/pipeline/1")).json()
    assert {**shown, "ping_url": before["ping_url"]} == after
    assert after == {**before, "watermark": "12", "updated_at": after["updated_at"]}
    (entry, *_) = (await client.get("/audit", params={"limit": 1})).json()["entries"]
    assert (entry["action"], entry["object_kind"], entry["object_id"], entry["object_name"]) == (
        "change",
        "pipeline",
        "1",
        "orders",
    )
    assert (entry["before"]["watermark"], entry["after"]["watermark"]) == ("7", "12")
    assert entry["after"]["watermark_start_date"] is None
    assert entry["request_id"]


@pytest.mark.usefixtures("known")
async def test_a_watermark_that_holds_a_secret_is_masked_before_and_after(client: httpx.AsyncClient) -> None:
    for watermark in ("password=hunter2", "2026-03-02", "2026-03-02"):
        assert (await client.patch("/pipeline", json={"id": 1, "watermark": watermark})).status_code == 200

    entries = (await client.get("/audit", params={"limit": 2})).json()["entries"]

    assert [entry["after"]["watermark"] for entry in entries] == ["2026-03-02", "password=***"]
    assert entries[0]["before"]["watermark"] == "password=***"


async def test_what_is_not_there_is_not_found(client: httpx.AsyncClient) -> None:
    answers = [
        await client.get("/pipeline/77"),
        await client.get("/pipeline_execution/77"),
        await client.patch("/pipeline", json={"id": 77, "watermark": "1"}),
        await client.post("/address_lineage", json={**LINEAGE, "pipeline_id": 77}),
    ]
    assert [answer.status_code for answer in answers] == [404] * 4
    wrong = await client.get("/pipeline/seventy")
    assert (wrong.status_code, wrong.json()["detail"][0]["loc"]) == (422, ["path", "pipeline_id"])
    assert (await client.head("/pipeline/77")).status_code == 404


async def test_a_connection_that_was_lost_while_it_was_idle_costs_no_answer(
    client: httpx.AsyncClient, engine: Engine, app: FastAPI
) -> None:
    pipeline_id = await make_pipeline(client)
    pool = app.state.ingest_pool
    async with pool.connection() as one, pool.connection() as other:
        pids = [one.info.backend_pid, other.info.backend_pid]
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_terminate_backend(pid, 5000) FROM unnest(:pids) AS pid"), {"pids": pids})

    # Until it was the turn of each connection, however many there are.
    answers = [await client.get(f"/pipeline/{pipeline_id}") for _ in range(pool.max_size + 1)]

    assert {answer.status_code for answer in answers} == {200}


@pytest.mark.parametrize(
    "statement",
    [statements.numbered(START_STATEMENT), statements.numbered(END_STATEMENT), FIND, *MOVE_BY.values()],
)
async def test_a_plan_made_while_the_tables_are_empty_reads_none_of_them_whole(
    app: FastAPI, client: httpx.AsyncClient, statement: statements.Statement
) -> None:
    assert client
    async with app.state.ingest_pool.connection() as connection:
        await connection.execute("VACUUM ANALYZE pipeline, pipeline_execution, incident, anomaly_detection_rule")
        cursor = await connection.execute(b"EXPLAIN (GENERIC_PLAN) " + statement.sql.replace(b"%", b"%%"))
        plan = "\n".join(row[0] for row in await cursor.fetchall())
    assert "Seq Scan" not in plan


async def test_a_run_is_shown_as_it_is_below_its_parent(client: httpx.AsyncClient) -> None:
    pipeline_id = await make_pipeline(client)
    root = await start(client, pipeline_id)
    child = await start(client, pipeline_id, parent_id=root)
    assert (await end(client, child, total_rows=7, execution_metadata={"files": ["a"]})).status_code == 204

    alone = (await client.get(f"/pipeline_execution/{child}")).json()
    (nested,) = (await client.get(f"/pipeline_execution/{root}")).json()["child_executions"]

    assert alone == nested


async def test_one_pipeline_is_shown_as_in_the_list_whatever_holds_of_it(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    declared: dict[str, dict[str, Any]] = {
        "going": {},
        "over": {"timeliness_number": 1, "timeliness_datepart": "minute"},
        "paused": {},
        "wrong": {"pipeline_metadata": {"owner": "ada"}},
        "scheduled": {"schedule": "* * * * *", "lost_after_hours": 1.5},
        "never": {},
    }
    ids = {name: await make_pipeline(client, name, **fields) for name, fields in declared.items()}
    await start(client, ids["going"], now())
    with engine.begin() as connection:
        add_history(connection, ids["over"], [3.0])
        for kind in ("stale", "failing"):
            connection.execute(
                text("""
                    INSERT INTO incident (kind, pipeline_id, level, detail, since, opened_at)
                    VALUES (:kind, :pipeline_id, 'ERROR', 'x', now(), now())
                """),
                {"kind": kind, "pipeline_id": ids["wrong"]},
            )
        connection.execute(
            text("UPDATE pipeline SET expected_next_run = now() - interval '5 minutes' WHERE id = :id"),
            {"id": ids["scheduled"]},
        )
    assert (await client.patch("/pipeline", json={"id": ids["paused"], "active": False})).status_code == 200

    listed = (await client.get("/pipeline")).json()
    alone = [(await client.get(f"/pipeline/{one['id']}")).json() for one in listed]

    assert [{name: one[name] for name in listed[0]} for one in alone] == listed
    words = {one["name"]: (one["status"], one["also"]) for one in listed}
    assert words == {
        "going": ("running", []),
        "over": ("ok", []),
        "paused": ("paused", []),
        "wrong": ("failing", ["stale"]),
        "scheduled": ("unknown", ["due"]),
        "never": ("unknown", []),
    }
    assert listed[1]["remark"].startswith("its last run took")
