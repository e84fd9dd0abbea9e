"""Graphs straight in the tables, and the closure by the plainest possible means."""

import random
from collections.abc import Iterable, Sequence
from itertools import pairwise

import networkx as nx
from sqlalchemy import Connection, Engine, text

from watcher_server.lineage.closure import rebuild_part
from watcher_server.lineage.walk import ClosureChange

Edge = tuple[int, int]
Closure = dict[Edge, tuple[int, list[int]]]


def draw_addresses(engine: Engine, count: int) -> None:
    """Addresses 1 to ``count``, and the pipelines 1 to 3, in empty tables."""
    with engine.begin() as connection:
        for statement in (
            "INSERT INTO address_type (name, group_name) VALUES ('table', 'database')",
            "INSERT INTO pipeline_type (name) VALUES ('type')",
            "INSERT INTO pipeline (name, pipeline_type_id) VALUES ('one', 1), ('two', 1), ('three', 1)",
        ):
            connection.execute(text(statement))
        addresses = (
            "INSERT INTO address (name, address_type_id) SELECT 'address ' || n, 1 FROM generate_series(1, :count) AS n"
        )
        connection.execute(text(addresses), {"count": count})


def draw_edges(engine: Engine, edges: Iterable[Edge], pipeline_id: int = 1) -> None:
    """Exactly these edges for the pipeline, the closure left as it is."""
    rows = [{"pipeline": pipeline_id, "source": source, "target": target} for source, target in set(edges)]
    insert = "INSERT INTO address_lineage (pipeline_id, source_address_id, target_address_id) "
    with engine.begin() as connection:
        delete = text("DELETE FROM address_lineage WHERE pipeline_id = :pipeline")
        connection.execute(delete, {"pipeline": pipeline_id})
        if rows:
            connection.execute(text(insert + "VALUES (:pipeline, :source, :target)"), rows)


def stored_closure(engine: Engine) -> Closure:
    """The closure's rows: depth and path by pair."""
    with engine.connect() as connection:
        rows = connection.execute(
            text("SELECT source_address_id, target_address_id, depth, lineage_path FROM address_lineage_closure")
        )
        return {(source, target): (depth, path) for source, target, depth, path in rows}


def check_closure(engine: Engine, addresses: Iterable[int], edges: Iterable[Edge]) -> None:
    """Fail unless the closure is what networkx says: as far as the shortest paths are long, each path one of them."""
    graph = nx.DiGraph()
    graph.add_nodes_from(addresses)
    graph.add_edges_from(edges)
    lengths = {
        (source, target): length
        for source, reached in nx.all_pairs_shortest_path_length(graph)
        for target, length in reached.items()
    }
    closure = stored_closure(engine)
    assert {pair: depth for pair, (depth, _) in closure.items()} == lengths
    for (source, target), (depth, path) in closure.items():
        assert (path[0], path[-1], len(path)) == (source, target, depth + 1)
        assert all(graph.has_edge(*edge) for edge in pairwise(path))


def row_versions(engine: Engine) -> dict[Edge, int]:
    """Which transaction wrote each row of the closure."""
    with engine.connect() as connection:
        rows = connection.execute(
            text("SELECT source_address_id, target_address_id, xmin::text::bigint FROM address_lineage_closure")
        )
        return {(source, target): xmin for source, target, xmin in rows}


def expected_closure(addresses: Iterable[int], edges: Iterable[Edge]) -> Closure:
    """For each pair the least of its shortest paths, by extending every shortest path known so far."""
    closure: Closure = {}
    known = set(edges)
    for source in addresses:
        layer = [[source]]
        while layer:
            for path in layer:
                closure[source, path[-1]] = (len(path) - 1, path)
            longer = sorted([*path, t] for path in layer for s, t in known if s == path[-1])
            layer = []
            for path in longer:
                if (source, path[-1]) not in closure and all(path[-1] != other[-1] for other in layer):
                    layer.append(path)
    return closure


def layered_edges(layers: int, width: int, edges: int) -> set[Edge]:
    """Random edges, each from one layer of addresses to the next."""
    dice = random.Random(4)  # noqa: S311 - the same graph every time
    drawn: set[Edge] = set()
    while len(drawn) < edges:
        layer = dice.randrange(layers - 1)
        first = layer * width + 1
        drawn.add((first + dice.randrange(width), first + width + dice.randrange(width)))
    return drawn


def rebuild_closure(
    connection: Connection, connected_addresses: Sequence[int], *, everything: bool = False
) -> ClosureChange:
    """All parts of a rebuild in the transaction at hand; see :func:`rebuild_part`."""
    change = ClosureChange()
    remaining = rebuild_part(connection, connected_addresses, change, everything=everything)
    while remaining:
        remaining = rebuild_part(connection, (), change)
    return change
