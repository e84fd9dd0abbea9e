"""Edges that were declared and edges that events show live side by side, and each leaves by its own way."""

from datetime import UTC, datetime

import httpx
from sqlalchemy import Engine, text

from tests.archive.test_archive import run_tasks
from tests.lineage.test_load import load
from tests.support.openlineage import dataset, later, output, run_event, send

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
WAREHOUSE = "postgres://wh:5432/"


def edges(engine: Engine) -> dict[tuple[str, str], str]:
    statement = """
        SELECT source.name, target.name, origin FROM address_lineage
        JOIN address AS source ON source.id = source_address_id JOIN address AS target ON target.id = target_address_id
    """
    with engine.connect() as connection:
        return {
            (source.removeprefix(WAREHOUSE), target.removeprefix(WAREHOUSE)): origin
            for source, target, origin in connection.execute(text(statement))
        }


def run(engine: Engine, *sources: str, at: datetime = START, run_id: str = "1") -> None:
    """A run of demo/etl that reads these and writes x.y.target."""
    send(
        engine,
        run_event("COMPLETE", at, run=run_id, inputs=[dataset(f"x.y.{name}") for name in sources],
                  outputs=[output("x.y.target")]),
    )  # fmt: skip


async def test_a_declaration_leaves_alone_what_events_show(client: httpx.AsyncClient, engine: Engine) -> None:
    run(engine, "seen")

    await load(client, 1, ["a"], ["b"], replace=True)
    await load(client, 1, ["c"], ["b"], replace=True)

    assert edges(engine) == {("x.y.seen", "x.y.target"): "openlineage", ("c", "b"): "declared"}


async def test_what_is_seen_and_declared_leaves_with_the_declaration(client: httpx.AsyncClient, engine: Engine) -> None:
    run(engine, "both")
    await load(client, 1, [f"{WAREHOUSE}x.y.both"], [f"{WAREHOUSE}x.y.target"], replace=True)
    assert edges(engine) == {("x.y.both", "x.y.target"): "declared"}

    await load(client, 1, ["a"], ["b"], replace=True)
    assert edges(engine) == {("a", "b"): "declared"}

    run(engine, "both", at=later(START, 60), run_id="2")
    assert edges(engine) == {("a", "b"): "declared", ("x.y.both", "x.y.target"): "openlineage"}


async def test_edges_come_back_from_the_archive_as_they_were(client: httpx.AsyncClient, engine: Engine) -> None:
    run(engine, "seen")
    await load(client, 1, ["a"], ["b"], replace=True)
    before = edges(engine)

    await client.delete("/pipeline/1")
    run_tasks(engine)
    assert edges(engine) == {}
    await client.post("/pipeline/1/restore")
    run_tasks(engine)

    assert edges(engine) == before
    with engine.connect() as connection:
        seen = connection.scalar(text("SELECT last_seen_at FROM address_lineage WHERE origin = 'openlineage'"))
    assert seen == START


async def test_the_graph_says_where_an_edge_is_known_from(client: httpx.AsyncClient, engine: Engine) -> None:
    run(engine, "seen")
    await load(client, 1, [f"{WAREHOUSE}x.y.target"], ["b"], replace=True)

    address = (await client.get("/address", params={"name": "x.y.target"})).json()[0]
    graph = (await client.get("/lineage-graph/", params={"source_address_id": address["id"]})).json()

    assert sorted(edge["origin"] for edge in graph["edges"]) == ["declared", "openlineage"]
