"""Walkers that share what a large rebuild has left over."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection, Engine, text

from tests.lineage.graphs import (
    Edge,
    draw_addresses,
    draw_edges,
    expected_closure,
    layered_edges,
    rebuild_closure,
    stored_closure,
)
from watcher_server.celery_tasks import address_lineage_closure_rebuild_task as rebuild_task
from watcher_server.lineage.closure import rebuild_part, walk_remaining
from watcher_server.lineage.walk import ClosureChange
from watcher_server.lineage.walkers import walk_together

ADDRESSES = range(1, 61)
EDGES = layered_edges(6, 10, 120)


@pytest.fixture
def change(engine: Engine) -> ClosureChange:
    """What the first part of a large rebuild did: one source is walked from, and all others remain."""
    draw_addresses(engine, len(ADDRESSES))
    draw_edges(engine, EDGES)
    first = ClosureChange()
    with engine.begin() as connection:
        assert rebuild_part(connection, ADDRESSES, first, most_rows=1) == count_pending(engine, connection)
    return first


def count_pending(engine: Engine, connection: Connection | None = None) -> int:
    statement = text("SELECT count(*) FROM address_lineage_pending")
    if connection is not None:
        return int(connection.execute(statement).scalar_one())
    with engine.connect() as own:
        return int(own.execute(statement).scalar_one())


def expected(edges: set[Edge] = EDGES) -> dict[Edge, tuple[int, list[int]]]:
    return expected_closure(ADDRESSES, edges)


@pytest.mark.parametrize("most_rows", [1, 7, 10_000])
def test_what_remains_is_walked_once_by_either(engine: Engine, change: ClosureChange, most_rows: int) -> None:
    sources = change.sources + count_pending(engine)
    reports: list[int] = []

    walk_together(
        engine.begin, change, count_pending(engine), lambda _, percent: reports.append(percent), most_rows=most_rows
    )

    assert stored_closure(engine) == expected()
    assert count_pending(engine) == 0
    assert (change.sources, change.rows_inserted) == (sources, len(expected()))
    assert all(0 <= percent <= 100 for percent in reports)


def test_a_source_that_one_transaction_walks_from_is_left_alone_by_others(
    engine: Engine, change: ClosureChange
) -> None:
    with engine.begin() as first, engine.begin() as second:
        assert walk_remaining(first, change, lambda _: None)
        # The first has claimed all, as far as it walks or not.
        assert not walk_remaining(second, change, lambda _: None)

    assert stored_closure(engine) == expected()


def test_edges_change_only_while_nobody_walks(engine: Engine, change: ClosureChange) -> None:
    fewer = {edge for edge in EDGES if sum(edge) % 3}
    with ThreadPoolExecutor(1) as threads:
        with engine.begin() as walking:
            assert walk_remaining(walking, change, lambda _: None, most_rows=50)
            draw_edges(engine, fewer)

            def rebuild() -> None:
                with engine.begin() as connection:
                    rebuild_closure(connection, ADDRESSES)

            rebuilt = threads.submit(rebuild)
            with pytest.raises(TimeoutError):
                rebuilt.result(timeout=0.5)
        rebuilt.result(timeout=10)

    assert stored_closure(engine) == expected(fewer)


@pytest.mark.parametrize("caller_fails", [True, False], ids=["caller", "helper"])
def test_when_either_fails_both_end_and_the_rest_remains(
    engine: Engine, change: ClosureChange, *, caller_fails: bool
) -> None:
    caller = threading.current_thread()

    @contextmanager
    def transaction() -> Iterator[Connection]:
        with engine.begin() as connection:
            yield connection
            if (threading.current_thread() is caller) == caller_fails:
                raise ConnectionError("lost")

    with pytest.raises(ConnectionError, match="lost"):
        walk_together(transaction, change, count_pending(engine), lambda *_: None, most_rows=1)
    assert stored_closure(engine).items() <= expected().items()

    with engine.begin() as connection:
        rebuild_closure(connection, ())
    assert stored_closure(engine) == expected()
    assert count_pending(engine) == 0


def test_the_task_shares_what_its_first_part_leaves_over(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("watcher_server.lineage.closure._FIRST_PART_ROWS", 10)
    draw_addresses(engine, len(ADDRESSES))
    draw_edges(engine, EDGES)

    done = rebuild_task(connected_addresses=list(ADDRESSES), pipeline_id=1)

    assert stored_closure(engine) == expected()
    assert (done["sources"], done["rows_inserted"]) == (len({source for source, _ in EDGES}), len(expected()))
    assert count_pending(engine) == 0
