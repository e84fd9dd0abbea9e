"""Any history of lineage ends in the closure that networkx finds, whenever, in what order and by whom it is rebuilt."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random
from threading import Barrier

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from tests.lineage.graphs import (
    Edge,
    check_closure,
    draw_addresses,
    draw_edges,
    expected_closure,
    stored_closure,
)
from tests.support.emptying import empty_tables
from watcher_server.celery_tasks import address_lineage_closure_rebuild_task as rebuild_task
from watcher_server.lineage.closure import rebuild_part
from watcher_server.lineage.walk import ClosureChange
from watcher_server.lineage.walkers import walk_together

ADDRESSES = range(1, 9)
PIPELINES = (1, 2, 3)
EDGES = st.sets(st.tuples(st.sampled_from(ADDRESSES), st.sampled_from(ADDRESSES)), max_size=14)
LOAD = st.tuples(st.sampled_from(PIPELINES), EDGES)
# Which of the rebuilds that were asked for so far, and how many rows it walks before it is stopped.
REBUILD = st.tuples(st.integers(0, 9), st.sampled_from([1, 5, 1000]))

quick = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
quicker = settings(quick, max_examples=15)


@dataclass
class Lineage:
    """What the pipelines load, and the rebuilds that this asks for."""

    engine: Engine
    edges: dict[int, set[Edge]] = field(default_factory=lambda: {pipeline_id: set() for pipeline_id in PIPELINES})
    asked: list[list[int]] = field(default_factory=list)

    def load(self, pipeline_id: int, edges: set[Edge]) -> list[int]:
        """Replace the pipeline's edges; the addresses to rebuild around."""
        ends = sorted({address for edge in self.edges[pipeline_id] | edges for address in edge})
        self.edges[pipeline_id] = edges
        draw_edges(self.engine, edges, pipeline_id)
        self.asked.append(ends)
        return ends

    def rebuild_once(self, connected: Iterable[int], most_rows: int) -> int:
        """One transaction of a rebuild; how many sources remain."""
        with self.engine.begin() as connection:
            return rebuild_part(connection, list(connected), ClosureChange(), most_rows=most_rows)

    def check(self) -> None:
        """The closure is that of all edges, its paths the first by id, and nothing remains to be done."""
        edges = set().union(*self.edges.values())
        check_closure(self.engine, ADDRESSES, edges)
        assert stored_closure(self.engine) == expected_closure(ADDRESSES, edges)
        with self.engine.connect() as connection:
            assert connection.scalar(text("SELECT count(*) FROM address_lineage_pending")) == 0


def new_lineage(engine: Engine) -> Lineage:
    empty_tables(engine)
    draw_addresses(engine, len(ADDRESSES))
    lineage = Lineage(engine)
    # As it is from the moment in which each address was created.
    lineage.rebuild_once(ADDRESSES, 1000)
    return lineage


@quick
@given(loads=st.lists(LOAD, min_size=1, max_size=5))
def test_a_rebuild_after_each_load(engine: Engine, loads: list[tuple[int, set[Edge]]]) -> None:
    lineage = new_lineage(engine)

    for pipeline_id, edges in loads:
        rebuild_task(connected_addresses=lineage.load(pipeline_id, edges), pipeline_id=pipeline_id)
        lineage.check()


@quick
@given(
    history=st.lists(st.one_of(LOAD, REBUILD), min_size=1, max_size=10),
    order=st.randoms(use_true_random=False),
)
def test_rebuilds_late_in_any_order_twice_and_stopped_on_the_way(
    engine: Engine, history: list[tuple[int, set[Edge] | int]], order: Random
) -> None:
    lineage = new_lineage(engine)
    for number, what in history:
        if isinstance(what, set):
            lineage.load(number, what)
        elif lineage.asked:
            lineage.rebuild_once(lineage.asked[number % len(lineage.asked)], most_rows=what)

    queue = lineage.asked + lineage.asked[::2]
    order.shuffle(queue)
    for connected in queue:
        rebuild_task(connected_addresses=connected, pipeline_id=1)

    if queue:
        lineage.check()


@quicker
@given(
    histories=st.tuples(st.lists(EDGES, min_size=1, max_size=4), st.lists(EDGES, min_size=1, max_size=4)),
    most_rows=st.sampled_from([1, 5, 1000]),
)
def test_two_pipelines_that_load_and_rebuild_at_once(
    engine: Engine, histories: tuple[list[set[Edge]], list[set[Edge]]], most_rows: int
) -> None:
    lineage = new_lineage(engine)
    at_once = Barrier(len(histories), timeout=10)

    def run(pipeline_id: int, history: list[set[Edge]]) -> None:
        at_once.wait()
        for edges in history:
            connected = lineage.load(pipeline_id, edges)
            remaining = lineage.rebuild_once(connected, most_rows)
            if remaining:
                walk_together(engine.begin, ClosureChange(), remaining, lambda *_: None, most_rows=most_rows)
            while remaining:
                remaining = lineage.rebuild_once((), most_rows)

    with ThreadPoolExecutor(len(histories)) as threads:
        list(threads.map(run, PIPELINES, histories))

    lineage.check()


@quicker
@given(edges=EDGES, damage=st.sets(st.tuples(*[st.sampled_from(ADDRESSES)] * 2), max_size=5))
def test_a_refresh_mends_whatever_broke(engine: Engine, edges: set[Edge], damage: set[Edge]) -> None:
    lineage = new_lineage(engine)
    rebuild_task(connected_addresses=lineage.load(1, edges), pipeline_id=1)
    with engine.begin() as connection:
        for source, target in damage:
            pair = {"source": source, "target": target}
            connection.execute(
                text("""
                    INSERT INTO address_lineage_closure VALUES (:source, :target, 4, '{9}')
                    ON CONFLICT (source_address_id, target_address_id) DO UPDATE SET depth = 7, lineage_path = '{8}'
                """),
                pair,
            )

    rebuild_task(connected_addresses=list(ADDRESSES), pipeline_id=0)

    lineage.check()
