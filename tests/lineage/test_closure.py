"""The closure of the address graph."""

import time

import pytest
from sqlalchemy import Engine

from tests.lineage.graphs import (
    Edge,
    draw_addresses,
    draw_edges,
    expected_closure,
    layered_edges,
    rebuild_closure,
    row_versions,
    stored_closure,
)
from watcher_server.celery_tasks import address_lineage_closure_rebuild_task as rebuild_task
from watcher_server.lineage.closure import rebuild_part, walk_remaining
from watcher_server.lineage.walk import ClosureChange


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


def test_the_task_of_an_address_or_a_pipeline_that_does_not_exist_says_so_and_does_the_rest(engine: Engine) -> None:
    draw_addresses(engine, 2)
    draw_edges(engine, [(1, 2)])

    assert rebuild_task([99], 1)["skipped"] == "no such address"
    assert stored_closure(engine) == {}
    assert rebuild_task([1, 99, 98], 1)["skipped"] == "no such address: 98, 99"
    assert rebuild_task([1, 2], 99)["skipped"] == "no such pipeline"
    assert stored_closure(engine) == expected_closure([1, 2], [(1, 2)])
    assert "skipped" not in rebuild_task([1, 2], 1)
    assert "skipped" not in rebuild_task([], 0)


def test_a_diamond_is_one_row_with_the_first_of_its_paths(engine: Engine) -> None:
    draw_addresses(engine, 4)
    draw_edges(engine, [(1, 3), (1, 2), (2, 4), (3, 4)])

    rebuild(engine, 1, 2, 3, 4)

    assert stored_closure(engine)[1, 4] == (2, [1, 2, 4])


def test_of_equally_short_paths_the_first_by_ids_stays_stored_whichever_edge_came_first(engine: Engine) -> None:
    # By number and not as text: 9 comes before 10.
    draw_addresses(engine, 12)
    by_10 = [(1, 9), (1, 10), (10, 11), (11, 12)]

    draw_edges(engine, by_10)
    rebuild(engine, 1, 9, 10, 11, 12)
    draw_edges(engine, [*by_10, (9, 11)])
    added = rebuild(engine, 9, 11)
    both = stored_closure(engine)
    draw_edges(engine, by_10)
    rebuild(engine, 9, 11)
    without_9 = stored_closure(engine)

    assert both[1, 11] == (2, [1, 9, 11])
    assert both[1, 12] == (3, [1, 9, 11, 12])
    # 1-11 and 1-12 have another path of the same length; 9-11 and 9-12 are new.
    assert (added.rows_updated, added.rows_inserted) == (2, 2)
    assert without_9[1, 12] == (3, [1, 10, 11, 12])


def test_an_equally_short_path_that_comes_later_by_ids_writes_nothing(engine: Engine) -> None:
    draw_addresses(engine, 4)
    first = [(1, 2), (2, 4), (1, 3)]
    draw_edges(engine, first)
    rebuild(engine, 1, 2, 3, 4)

    draw_edges(engine, [*first, (3, 4)])
    change = rebuild(engine, 3, 4)

    assert stored_closure(engine)[1, 4] == (2, [1, 2, 4])
    # 3-4 itself; 1 is not even walked from.
    assert (change.sources, change.rows_inserted, change.rows_updated) == (1, 1, 0)


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

    assert rebuild(engine, 1, 2, 3, 4, 5) == ClosureChange()
    assert row_versions(engine) == before
    draw_edges(engine, [(1, 2), (2, 3), (3, 4), (1, 3)])
    change = rebuild(engine, 1, 3, 5)

    # 1-3 and 1-4 came nearer, 1-5 is gone; the other seven rows of the closure are as they were.
    assert (change.rows_inserted, change.rows_updated, change.rows_deleted) == (0, 2, 1)
    unchanged = {pair for pair, version in row_versions(engine).items() if version == before[pair]}
    assert set(before) - unchanged == {(1, 3), (1, 4), (1, 5)}


def test_only_sources_whose_rows_differ_are_walked_from(engine: Engine) -> None:
    # 1 and 2 feed 4 by way of 3; 2 also feeds 5 directly, which 4 feeds.
    draw_addresses(engine, 6)
    edges = [(1, 3), (2, 3), (3, 4), (4, 5), (2, 5)]
    draw_edges(engine, edges)
    rebuild(engine, *range(1, 7))

    draw_edges(engine, [*edges, (3, 5)])
    added = rebuild(engine, 3, 5)
    draw_edges(engine, edges)
    removed = rebuild(engine, 3, 5)

    # 2 was as near to 5 before, and 4 lies below.
    assert (added.sources, added.rows_updated) == (2, 2)
    assert removed.sources == 2
    assert stored_closure(engine) == expected_closure(range(1, 7), edges)


def test_what_one_transaction_leaves_over_any_other_goes_on_with(engine: Engine) -> None:
    edges = [(n, n + 1) for n in range(1, 9)]
    draw_addresses(engine, 11)
    draw_edges(engine, edges)

    with engine.begin() as connection:
        remaining = rebuild_part(connection, range(1, 10), ClosureChange(), most_rows=10)
    unfinished = stored_closure(engine)
    # Another pipeline's lineage changes meanwhile, and what remained of the first is done with it.
    draw_edges(engine, [(9, 10), (11, 1)], 2)
    rebuild(engine, 9, 10, 11, 1)

    assert remaining > 0
    assert unfinished.items() < expected_closure(range(1, 10), edges).items()
    assert stored_closure(engine) == expected_closure(range(1, 12), [*edges, (9, 10), (11, 1)])


def test_a_walker_leaves_all_but_a_few_sources_to_others(engine: Engine) -> None:
    edges = [(n, n + 1) for n in range(1, 300)]
    draw_addresses(engine, 300)
    draw_edges(engine, edges)
    with engine.begin() as connection:
        remaining = rebuild_part(connection, range(1, 301), ClosureChange(), most_rows=1)

    held, other = ClosureChange(), ClosureChange()
    with engine.begin() as first, engine.begin() as second:
        walk_remaining(first, held, lambda _: None, most_rows=1)
        walk_remaining(second, other, lambda _: None, most_rows=1_000_000)
    rebuild(engine)

    assert (held.sources, other.sources) == (1, remaining - 100)
    assert stored_closure(engine) == expected_closure(range(1, 301), edges)


def test_an_edge_that_comes_and_goes_while_a_rebuild_is_unfinished_leaves_nothing(engine: Engine) -> None:
    chain = [(n, n + 1) for n in range(1, 9)]
    draw_addresses(engine, 10)
    draw_edges(engine, [*chain, (5, 10)])
    with engine.begin() as connection:
        rebuild_part(connection, range(1, 11), ClosureChange(), most_rows=20)

    draw_edges(engine, chain)
    rebuild(engine, 5, 10)

    assert stored_closure(engine) == expected_closure(range(1, 11), chain)


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
