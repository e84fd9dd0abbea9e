"""A dataset that is joined to an address: what was shown moves there, and so does what is shown from then on."""

from datetime import UTC, datetime
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.lineage.test_load import load
from tests.support.factories import make_pipeline
from tests.support.openlineage import Event, dataset, later, output, run_event, send
from watcher_server.kit.errors import NotFoundError
from watcher_server.openlineage.envelope import DatasetName
from watcher_server.openlineage.joining import join_dataset

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
ORDERS = DatasetName("postgres://wh:5432", "shop.public.orders")


def run(number: int, **fields: object) -> Event:
    read = dataset(ORDERS.name, documentation={"description": "All orders"})
    at = later(START, number)
    return run_event("COMPLETE", at, run=str(number), inputs=[read], outputs=[output("a.b.daily")]) | fields


def edges(engine: Engine) -> list[tuple[str, str, str]]:
    statement = """
        SELECT source.name, target.name, origin FROM address_lineage
        JOIN address AS source ON source.id = source_address_id
        JOIN address AS target ON target.id = target_address_id ORDER BY 1, 2
    """
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(statement))]


def address_id(engine: Engine, name: str) -> int:
    with engine.connect() as connection:
        found: int = connection.execute(text("SELECT id FROM address WHERE name = :name"), {"name": name}).scalar_one()
    return found


def join(engine: Engine, address: int) -> int:
    with engine.begin() as connection:
        return join_dataset(connection, ORDERS.key, address)


@pytest.fixture
async def known(client: httpx.AsyncClient) -> int:
    posted = {"name": "shop.public.orders", "address_type_name": "postgres", "address_type_group_name": "database"}
    made: int = (await client.post("/address", json=posted)).json()["id"]
    return made


def test_edges_move_now_and_later(engine: Engine, known: int) -> None:
    send(engine, run(1))
    assert edges(engine) == [("postgres://wh:5432/shop.public.orders", "postgres://wh:5432/a.b.daily", "openlineage")]
    assert join(engine, known) == 1
    moved = [("shop.public.orders", "postgres://wh:5432/a.b.daily", "openlineage")]
    assert edges(engine) == moved
    send(engine, run(2))
    assert edges(engine) == moved
    # Once more changes nothing.
    assert join(engine, known) == 0
    assert edges(engine) == moved


def test_what_is_said_of_the_dataset_moves_and_the_old_address_retires(engine: Engine, known: int) -> None:
    send(engine, run(1))
    old = address_id(engine, "postgres://wh:5432/shop.public.orders")
    join(engine, known)
    with engine.connect() as connection:
        said = connection.execute(text("SELECT id, openlineage, archived_at FROM address")).mappings().all()
        rebuilt = connection.scalars(text("SELECT kwargs FROM outbox WHERE task_name LIKE '%closure_rebuild%'")).all()
    by_id = {row["id"]: row for row in said}
    assert by_id[known]["openlineage"]["description"] == "All orders"
    assert by_id[old]["openlineage"] is None
    assert by_id[old]["archived_at"] is not None
    assert {old, known} <= set(rebuilt[-1]["connected_addresses"])


async def test_what_was_declared_stays(client: httpx.AsyncClient, engine: Engine, known: int) -> None:
    send(engine, run(1))
    await make_pipeline(client, "by hand")
    pipeline_id = 2
    await load(client, pipeline_id, ["postgres://wh:5432/shop.public.orders"], ["elsewhere"])
    join(engine, known)
    assert edges(engine) == [
        ("postgres://wh:5432/shop.public.orders", "elsewhere", "declared"),
        ("shop.public.orders", "postgres://wh:5432/a.b.daily", "openlineage"),
    ]
    with engine.connect() as connection:
        archived = text("SELECT count(*) FROM address WHERE archived_at IS NOT NULL")
        assert connection.scalar(archived) == 0


def test_two_edges_that_become_one_are_one(engine: Engine, known: int) -> None:
    other = dataset("shop.public.orders", "elsewhere://h")
    send(engine, run(1), run(2, inputs=[other]))
    with engine.begin() as connection:
        join_dataset(connection, DatasetName("elsewhere://h", ORDERS.name).key, known)
    join(engine, known)
    assert edges(engine) == [("shop.public.orders", "postgres://wh:5432/a.b.daily", "openlineage")]


def test_a_join_is_undone_by_another(engine: Engine, known: int) -> None:
    send(engine, run(1))
    before = edges(engine)
    old = address_id(engine, "postgres://wh:5432/shop.public.orders")
    join(engine, known)
    join(engine, old)
    assert edges(engine) == before
    with engine.connect() as connection:
        revived = connection.scalars(text("SELECT kwargs FROM outbox WHERE task_name = 'revive_task'")).all()
    assert revived == [{"pipeline_ids": [], "address_ids": [old]}]


def test_what_does_not_exist_is_not_joined(engine: Engine, known: int) -> None:
    with engine.begin() as connection, pytest.raises(NotFoundError, match="No event has named"):
        join_dataset(connection, uuid4(), known)
    send(engine, run(1))
    before = edges(engine)
    with engine.begin() as connection, pytest.raises(NotFoundError, match="No address has the id 999"):
        join_dataset(connection, ORDERS.key, 999)
    assert edges(engine) == before
