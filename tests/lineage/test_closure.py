"""The closure of the address graph."""

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from tests.lineage.graphs import (
    Edge,
    draw_addresses,
    draw_edges,
    expected_closure,
    layered_edges,
    row_versions,
    stored_closure,
)
from watcher_server.celery_tasks import address_lineage_closure_rebuild_task as rebuild_task
from watcher_server.lineage.closure import ClosureChange, rebuild_closure

ADDRESSES = range(1, 8)
EDGES = st.sets(st.tuples(st.sampled_from(ADDRESSES), st.sampled_from(ADDRESSES)), max_size=16)


def rebuild(engine: Engine, *connected: int) -> ClosureChange:
    with engine.begin() as connection:
        return rebuild_closure(connection, connected)


@pytest.mark.parametrize(
    "edges",
    [
        [(1, 2), (2, 3), (3, 1)],
        [(1, 1)],
        [(1, 2), (1, 3), (2, 4), (3, 4), (4, 5)],
        [(1, 2), (2, 3), (3, 4), (1, 4)],
        [(3, 2), (2, 1), (1, 2), (2, 2)],
    ],
    ids=["cycle", "self edge", "diamond", "shortcut", "two-way"],
)
def test_each_connected_pair_is_one_row_at_its_least_depth(engine: Engine, edges: list[Edge]) -> None:
    draw_addresses(engine, 5)
    draw_edges(engine, edges)

    rebuild(engine, *range(1, 6))

    assert stored_closure(engine) == expected_closure(range(1, 6), edges)


def test_a_diamond_is_one_row_with_the_first_of_its_paths(engine: Engine) -> None:
    draw_addresses(engine, 4)
    draw_edges(engine, [(1, 3), (1, 2), (2, 4), (3, 4)])

    rebuild(engine, 1, 2, 3, 4)

    assert stored_closure(engine)[1, 4] == (2, [1, 2, 4])


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(st.tuples(st.sampled_from([1, 2]), EDGES), min_size=1, max_size=4))
def test_any_history_of_replaced_edges_ends_in_the_closure_of_the_last_ones(
    engine: Engine, history: list[tuple[int, set[Edge]]]
) -> None:
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE pipeline, pipeline_type, address, address_type RESTART IDENTITY CASCADE"))
        connection.execute(text("TRUNCATE address_lineage_closure"))
    draw_addresses(engine, len(ADDRESSES))
    rebuild(engine, *ADDRESSES)
    current: dict[int, set[Edge]] = {1: set(), 2: set()}

    for pipeline_id, edges in history:
        ends = {address for edge in current[pipeline_id] | edges for address in edge}
        current[pipeline_id] = edges
        draw_edges(engine, edges, pipeline_id)
        rebuild(engine, *ends)

    assert stored_closure(engine) == expected_closure(ADDRESSES, current[1] | current[2])


def test_rebuilds_that_come_late_and_out_of_order_end_in_the_same_closure(engine: Engine) -> None:
    draw_addresses(engine, 5)
    draw_edges(engine, [(1, 2), (2, 3)], 1)
    draw_edges(engine, [(3, 4), (4, 5)], 2)
    rebuild(engine, 1, 2, 3, 4, 5)
    draw_edges(engine, [(1, 2)], 1)
    draw_edges(engine, [(4, 5)], 2)

    rebuild(engine, 3, 4, 5)
    rebuild(engine, 1, 2, 3)

    assert stored_closure(engine) == expected_closure(range(1, 6), [(1, 2), (4, 5)])


def test_an_edge_of_two_pipelines_stays_until_neither_has_it(engine: Engine) -> None:
    draw_addresses(engine, 2)
    for pipeline_id in (1, 2):
        draw_edges(engine, [(1, 2)], pipeline_id)
    rebuild(engine, 1, 2)
    draw_edges(engine, [], 1)
    rebuild(engine, 1, 2)
    shared = stored_closure(engine)
    draw_edges(engine, [], 2)
    rebuild(engine, 1, 2)

    assert shared[1, 2] == (1, [1, 2])
    assert set(stored_closure(engine)) == {(1, 1), (2, 2)}


def test_only_rows_that_differ_are_written(engine: Engine) -> None:
    draw_addresses(engine, 5)
    draw_edges(engine, [(1, 2), (2, 3), (3, 4), (1, 5)])
    rebuild(engine, 1, 2, 3, 4, 5)
    before = row_versions(engine)

    assert rebuild(engine, 1, 2, 3, 4, 5) == ClosureChange(sources=5)
    assert row_versions(engine) == before
    draw_edges(engine, [(1, 2), (2, 3), (3, 4), (1, 3)])
    change = rebuild(engine, 1, 3, 5)

    # 1-3 and 1-4 came nearer, 1-5 is gone; the other seven rows of the closure are as they were.
    assert (change.rows_inserted, change.rows_updated, change.rows_deleted) == (0, 2, 1)
    unchanged = {pair for pair, version in row_versions(engine).items() if version == before[pair]}
    assert set(before) - unchanged == {(1, 3), (1, 4), (1, 5)}


def test_addresses_that_do_not_exist_are_ignored(engine: Engine) -> None:
    draw_addresses(engine, 1)

    assert rebuild(engine, 99, -1) == ClosureChange()
    assert rebuild(engine) == ClosureChange()


def test_the_task_commits_what_it_rebuilt(engine: Engine) -> None:
    draw_addresses(engine, 2)
    draw_edges(engine, [(1, 2)])

    done = rebuild_task(connected_addresses=[1, 2], pipeline_id=1)

    assert done["rows_inserted"] == 3
    assert stored_closure(engine)[1, 2] == (1, [1, 2])


def test_a_long_chain_and_a_dense_graph_are_quick(engine: Engine) -> None:
    draw_addresses(engine, 1000)
    chain = [(n, n + 1) for n in range(1, 200)]
    draw_edges(engine, chain)
    started = time.perf_counter()
    rebuild(engine, *range(1, 201))
    chain_seconds = time.perf_counter() - started
    deepest = stored_closure(engine)[1, 200]

    draw_edges(engine, layered_edges(10, 100, 3000))
    started = time.perf_counter()
    rebuild(engine, *range(1, 1001))

    assert deepest == (199, list(range(1, 201)))
    # A tenth of a second and half a second on two quiet cores; what is asserted is that nothing explodes.
    assert chain_seconds < 2
    assert time.perf_counter() - started < 10
