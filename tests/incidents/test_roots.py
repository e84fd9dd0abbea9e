"""The root cause of incidents, over random graphs, beside a plain model of what explains what."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import networkx as nx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, text

from tests.incidents.passing import let_pass
from tests.incidents.records import add_incident
from tests.support.emptying import empty_tables
from tests.support.rows import add_pipeline, add_rule, add_run, ago
from watcher_server.alerts.levels import Level
from watcher_server.incidents.kinds import RANKS, Kind
from watcher_server.incidents.opening import Change, Finding, open_incidents
from watcher_server.incidents.resolving import resolve
from watcher_server.incidents.roots import Node, find_roots, read_roots
from watcher_server.incidents.sweep import sweep_incidents
from watcher_server.incidents.telling import choose_speakers, mark_told
from watcher_server.lineage.closure import rebuild_part
from watcher_server.lineage.walk import ClosureChange
from watcher_server.settings import load_settings

BEGAN = datetime(2026, 11, 29, tzinfo=UTC)
LEVELS = ("INFO", "WARNING", "ERROR", "CRITICAL")


def model_roots(order: Mapping[int, Any], causes: Mapping[int, set[int]]) -> dict[int, int]:
    """By reachability alone: those that lead to an incident and that nothing else leads to are its roots' circles."""
    graph = nx.DiGraph()
    graph.add_nodes_from(order)
    graph.add_edges_from((cause, effect) for effect, each in causes.items() for cause in each if cause != effect)
    found = {}
    for id_ in order:
        leading = nx.ancestors(graph, id_) | {id_}
        # A circle that nothing outside leads to: all that leads to a member is led to by it.
        first = [each for each in leading if nx.ancestors(graph, each) | {each} <= nx.descendants(graph, each) | {each}]
        root = min(first, key=order.__getitem__)
        if root != id_:
            found[id_] = root
    return found


@st.composite
def explained(draw: st.DrawFn) -> tuple[dict[int, Node], dict[int, set[int]]]:
    size = draw(st.integers(1, 9))
    ids = range(1, size + 1)
    nodes = {
        id_: Node(id_, BEGAN + timedelta(seconds=draw(st.integers(0, 2))), draw(st.sampled_from(LEVELS)), None)
        for id_ in ids
    }
    edges = draw(st.sets(st.tuples(st.sampled_from(ids), st.sampled_from(ids)), max_size=20))
    causes: dict[int, set[int]] = {}
    for cause, effect in edges:
        causes.setdefault(effect, set()).add(cause)
    return nodes, causes


@given(explained())
@settings(max_examples=500)
def test_the_root_is_the_first_of_those_that_nothing_else_leads_to(
    graph: tuple[dict[int, Node], dict[int, set[int]]],
) -> None:
    nodes, causes = graph
    order = {id_: (node.opened_at, -RANKS[node.level], id_) for id_, node in nodes.items()}

    roots = find_roots(nodes, causes)

    assert roots == model_roots(order, causes)
    assert not set(roots.values()) & roots.keys()


def test_in_a_circle_the_earliest_is_the_root_then_the_worst_then_the_least_id() -> None:
    def node(id_: int, seconds: int, level: str) -> Node:
        return Node(id_, BEGAN + timedelta(seconds=seconds), level, None)

    circle = {1: {2}, 2: {3}, 3: {1}}

    assert find_roots({1: node(1, 2, "ERROR"), 2: node(2, 1, "INFO"), 3: node(3, 2, "INFO")}, circle) == {1: 2, 3: 2}
    assert find_roots({1: node(1, 1, "INFO"), 2: node(2, 1, "INFO"), 3: node(3, 1, "ERROR")}, circle) == {1: 3, 2: 3}
    assert find_roots({id_: node(id_, 1, "INFO") for id_ in circle}, circle) == {2: 1, 3: 1}


def test_a_chain_of_thousands_is_followed_without_recursion() -> None:
    nodes = {id_: Node(id_, BEGAN, "INFO", None) for id_ in range(5_000)}

    assert set(find_roots(nodes, {id_: {id_ - 1} for id_ in range(1, 5_000)}).values()) == {0}


class Wrong(NamedTuple):
    """What is wrong with a pipeline, found so many ``seconds`` after the first; an anomaly is low or high."""

    pipeline: int
    kind: str
    seconds: int
    level: str
    is_low: bool


class World(NamedTuple):
    """Pipelines by what each reads and writes, whose latest run began which other's, and what is wrong."""

    edges: set[tuple[int, int, int]]
    parents: dict[int, int]
    wrong: list[Wrong]


ADDRESSES = range(1, 8)
PIPELINES = range(1, 7)
KINDS = ("failing", "missed", "late", "stale", "anomalous")
WITH_RUNS = {"failing", "late", "anomalous"}


@st.composite
def worlds(draw: st.DrawFn) -> World:
    edges = draw(
        st.sets(
            st.tuples(st.sampled_from(PIPELINES), st.sampled_from(ADDRESSES), st.sampled_from(ADDRESSES)), max_size=14
        )
    )
    parents = {
        child: parent
        for child in PIPELINES[1:]
        if (parent := draw(st.one_of(st.none(), st.integers(1, child - 1)))) is not None
    }
    keys = draw(
        st.lists(st.tuples(st.sampled_from(PIPELINES), st.sampled_from(KINDS)), unique=True, min_size=1, max_size=9)
    )
    wrong = [
        Wrong(*key, draw(st.sampled_from((0, 20, 40, 100))), draw(st.sampled_from(LEVELS)), draw(st.booleans()))
        for key in keys
    ]
    return World(edges, parents, wrong)


def build(engine: Engine, world: World) -> dict[int, Wrong]:
    """The world in the database, with the closure that a rebuild makes; the incidents by their ids."""
    empty_tables(engine)
    began = ago(hours=1)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO address_type (name, group_name) VALUES ('table', 'database')"))
        for address in ADDRESSES:
            named = {"name": f"address {address}"}
            connection.execute(text("INSERT INTO address (name, address_type_id) VALUES (:name, 1)"), named)
        runs: dict[int, int] = {}
        for number in PIPELINES:
            pipeline_id = add_pipeline(connection, f"pipeline {number}")
            runs[number] = add_run(
                connection,
                pipeline_id,
                parent_id=runs.get(world.parents.get(number, 0)),
                start_date=began - timedelta(hours=1),
            )
            add_rule(connection, pipeline_id)
        _close_tree(connection, world.parents, runs)
        insert = "INSERT INTO address_lineage (pipeline_id, source_address_id, target_address_id) VALUES (:p, :s, :t)"
        for pipeline, source, target in world.edges:
            connection.execute(text(insert), {"p": pipeline, "s": source, "t": target})
        incidents = {_add(connection, wrong, runs, began): wrong for wrong in world.wrong}
    with engine.begin() as connection:
        assert rebuild_part(connection, list(ADDRESSES), ClosureChange()) == 0
    return incidents


def _close_tree(connection: Connection, parents: Mapping[int, int], runs: Mapping[int, int]) -> None:
    insert = "INSERT INTO pipeline_execution_closure VALUES (:parent, :child, :depth)"
    for number, run in runs.items():
        above, depth = number, 0
        while above:
            connection.execute(text(insert), {"parent": runs[above], "child": run, "depth": depth})
            above, depth = parents.get(above, 0), depth + 1


def _add(connection: Connection, wrong: Wrong, runs: Mapping[int, int], began: datetime) -> int:
    run = runs[wrong.pipeline] if wrong.kind in WITH_RUNS else None
    if wrong.kind == "anomalous":
        result = """
            INSERT INTO anomaly_detection_result (rule_id, pipeline_execution_id, metric_field, violation_value,
                z_score, historical_mean, historical_std, z_threshold, lower_bound, upper_bound, execution_count,
                context)
            SELECT id, :run, 'total_rows', 1, :z_score, 1, 1, 3, 1, 1, 5, '{}'
            FROM anomaly_detection_rule WHERE pipeline_id = :pipeline
        """
        z_score = -4 if wrong.is_low else 4
        connection.execute(text(result), {"run": run, "z_score": z_score, "pipeline": wrong.pipeline})
    opened = began + timedelta(seconds=wrong.seconds)
    return add_incident(
        connection, wrong.pipeline, wrong.kind, level=wrong.level, opened_at=opened, told_at=None, execution_id=run
    )


def model_causes(world: World, incidents: Mapping[int, Wrong]) -> dict[int, set[int]]:
    """What explains each incident, straight from the rules."""
    data = nx.DiGraph((source, target) for _, source, target in world.edges)
    written = {number: {edge[2] for edge in world.edges if edge[0] == number} for number in PIPELINES}
    read = {number: {edge[1] for edge in world.edges if edge[0] == number} for number in PIPELINES}

    def feeds(cause: int, effect: int) -> bool:
        return any(nx.has_path(data, target, source) for target in written[cause] for source in read[effect])

    def is_below(cause: int, effect: int) -> bool:
        above = world.parents.get(cause, 0)
        while above and above != effect:
            above = world.parents.get(above, 0)
        return above == effect

    def top_of(pipeline: int) -> int:
        while pipeline in world.parents:
            pipeline = world.parents[pipeline]
        return pipeline

    def first_failed(top: int) -> int | None:
        called = (
            (wrong.seconds, id_)
            for id_, wrong in incidents.items()
            if wrong.kind == "failing" and wrong.pipeline in world.parents and top_of(wrong.pipeline) == top
        )
        return min(called, default=(0, None))[1]

    def shares_top(cause_id: int, effect_id: int) -> bool:
        cause, effect = incidents[cause_id].pipeline, incidents[effect_id].pipeline
        return (
            incidents[effect_id].kind == "failing"
            and effect in world.parents
            and first_failed(top_of(effect)) == cause_id
            and not is_below(effect, cause)
        )

    def explains(cause_id: int, effect_id: int) -> bool:
        cause, effect = incidents[cause_id], incidents[effect_id]
        if cause.pipeline == effect.pipeline or cause.seconds > effect.seconds + 30:
            return False
        fits = cause.kind != "anomalous" if effect.kind != "anomalous" else cause.kind == "anomalous" or effect.is_low
        has_runs = all(each.kind in WITH_RUNS for each in (cause, effect))
        by_tree = has_runs and is_below(cause.pipeline, effect.pipeline)
        by_lineage = effect.kind != "failing" and feeds(cause.pipeline, effect.pipeline)
        share = cause.kind == effect.kind == "anomalous" and bool(written[cause.pipeline] & written[effect.pipeline])
        is_turn = (cause.seconds, cause_id) < (effect.seconds, effect_id) and effect.seconds <= cause.seconds + 30
        by_top = shares_top(cause_id, effect_id)
        return (fits and (by_tree or by_lineage or by_top)) or (share and is_turn)

    return {
        effect: {cause for cause in incidents if cause != effect and explains(cause, effect)} for effect in incidents
    }


IN_A_DATABASE = settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@given(worlds())
@IN_A_DATABASE
def test_the_database_finds_the_roots_that_the_rules_say(engine: Engine, world: World) -> None:
    incidents = build(engine, world)
    order = {id_: (wrong.seconds, -RANKS[Level(wrong.level)], id_) for id_, wrong in incidents.items()}

    with engine.connect() as connection:
        roots = read_roots(connection, list(incidents))

    assert roots == model_roots(order, model_causes(world, incidents))


Step = tuple[str, int, int]


@st.composite
def stories(draw: st.DrawFn) -> tuple[World, list[Step]]:
    """A world in which nothing is wrong yet, and what happens: which of ten things, to which pipeline."""
    world = draw(worlds())
    steps = draw(
        st.lists(
            st.tuples(
                st.sampled_from(("open", "open", "open", "resolve", "worse", "snooze", "acknowledge", "wait", "sweep")),
                st.sampled_from(PIPELINES),
                st.integers(0, 2**5 - 1),
            ),
            min_size=1,
            max_size=14,
        )
    )
    return world, steps


def hold_everything(connection: Connection) -> None:
    """Have everything that can be wrong with a pipeline be wrong, so that a sweep resolves nothing."""
    for statement in (
        "UPDATE pipeline_execution SET completed_successfully = false, anomaly_flags = '{\"total_rows\": true}'",
        """UPDATE pipeline SET schedule = '0 3 * * *', last_missed_run = now(), freshness_number = 1,
            freshness_datepart = 'minute', created_at = now() - interval '1 day', expected_next_run = now() + '1 h',
            due_since = now() - interval '1 hour'""",
        """INSERT INTO anomaly_detection_result (rule_id, pipeline_execution_id, metric_field, violation_value, z_score,
                historical_mean, historical_std, z_threshold, lower_bound, upper_bound, execution_count, context)
            SELECT rule.id, execution.id, 'total_rows', 1, -4, 1, 1, 3, 1, 1, 5, '{}'
            FROM anomaly_detection_rule AS rule JOIN pipeline_execution AS execution USING (pipeline_id)""",
        """INSERT INTO pipeline_execution (pipeline_id, start_date, date_recorded, hour_recorded)
            SELECT id, now() - interval '1 day', now()::date, 1 FROM pipeline""",
        """INSERT INTO timeliness_pipeline_execution_log (pipeline_execution_id, pipeline_id, duration_seconds,
                seconds_threshold, execution_status, timely_number, timely_datepart, used_child_config, severity)
            SELECT id, pipeline_id, 9, 1, 'running', 1, 'minute', true, 'failure'
            FROM pipeline_execution WHERE end_date IS NULL""",
    ):
        connection.execute(text(statement))


def take(connection: Connection, step: Step, runs: Mapping[int, int]) -> list[int]:
    """Do one step as the checks, the sweep and people do it; the incidents that opened."""
    what, pipeline, bits = step
    chosen = {"pipeline": pipeline, "kind": KINDS[bits % 5]}
    if what in {"open", "worse"}:
        # One check finds its kind of several pipelines at once.
        found = [number for number in PIPELINES if number == pipeline or bits >> (number % 5) & 1]
        findings = [
            Finding(
                ago(minutes=1),
                "wrong",
                pipeline_id=number,
                level=Level.CRITICAL if what == "worse" else None,
                execution_id=runs[number] if chosen["kind"] in WITH_RUNS else None,
            )
            for number in found
        ]
        openings = open_incidents(connection, Kind(str(chosen["kind"])), findings)
        mark_told(connection, [opening.incident_id for opening in choose_speakers(connection, openings)], "opened")
        return [opening.incident_id for opening in openings if opening.change in {Change.OPENED, Change.REOPENED}]
    if what == "wait":
        let_pass(connection, minutes=(0.3, 1, 5, 20, 61)[bits % 5])
    elif what == "sweep":
        sweep_incidents(connection, load_settings())
    elif what == "resolve":
        resolve(connection, connection.scalars(text(LIVE + " AND pipeline_id = :pipeline"), chosen).all())
    else:
        change = "snooze = :how" if what == "snooze" else "state = 'acknowledged'"
        how = {"how": ("worse", "time", "next_run")[bits % 3]}
        update = f"UPDATE incident SET {change} WHERE pipeline_id = :pipeline AND state = 'open'"
        connection.execute(text(update), {**chosen, **how})
    return []


LIVE = "SELECT id FROM incident WHERE state <> 'resolved'"
# Whoever waits until its root is over has a moment at which it speaks; people have their reasons for the others.
SILENT = """
SELECT incident.id, incident.kind, incident.pipeline_id
FROM incident LEFT JOIN incident AS root ON root.id = incident.root_id AND root.state <> 'resolved'
WHERE incident.state = 'open' AND incident.told_at IS NULL AND incident.snooze IS NULL AND incident.speaks_at IS NULL
    AND root.told_at IS NULL AND NOT incident.flapping
"""
LATE_TO_SPEAK = "SELECT id FROM incident WHERE state = 'open' AND snooze IS NULL AND speaks_at < now() AND NOT flapping"
EXPLAINED_ROOTS = """
SELECT root.id FROM incident JOIN incident AS root ON root.id = incident.root_id
WHERE incident.state <> 'resolved' AND (root.root_id IS NOT NULL OR root.state = 'resolved')
"""


@given(stories())
@IN_A_DATABASE
def test_nothing_is_silent_without_a_live_root_that_people_were_told_about(
    engine: Engine, story: tuple[World, list[Step]]
) -> None:
    world, steps = story
    build(engine, world._replace(wrong=[]))
    with engine.begin() as connection:
        rows = connection.execute(text("SELECT pipeline_id, id FROM pipeline_execution"))
        runs = {row.pipeline_id: row.id for row in rows}
        hold_everything(connection)

    for step in (*steps, ("sweep", 1, 0)):
        with engine.begin() as connection:
            found = take(connection, step, runs)
        with engine.connect() as connection:
            silent = connection.execute(text(SILENT)).all()
            if step[0] == "sweep":
                assert silent == []
                assert connection.execute(text(LATE_TO_SPEAK)).all() == []
                assert connection.execute(text(EXPLAINED_ROOTS)).all() == []
            assert [row for row in silent if row.id in found] == []


# Pipeline 1 feeds a table that pipeline 2 reads, by way of pipeline 3, of which nothing is expected.
FED = World({(1, 1, 2), (3, 2, 3), (2, 3, 4)}, {}, [])


def find(engine: Engine, *pipelines: int, kind: Kind = Kind.STALE, mark: bool = True) -> list[int]:
    """What a check that finds these pipelines at once tells people of."""
    with engine.begin() as connection:
        openings = open_incidents(
            connection, kind, [Finding(ago(minutes=1), "wrong", pipeline_id=number) for number in pipelines]
        )
        speakers = choose_speakers(connection, openings)
        if mark:
            mark_told(connection, [opening.incident_id for opening in speakers], "opened")
    return [opening.finding.pipeline_id or 0 for opening in speakers]


def change(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))


def test_the_root_speaks_for_what_lies_below_however_far(engine: Engine) -> None:
    build(engine, FED)

    assert find(engine, 1, 2) == [1]


def test_what_opens_within_the_group_wait_before_its_cause_is_put_under_it_later(engine: Engine) -> None:
    build(engine, FED)
    assert find(engine, 2) == [2]
    assert find(engine, 1) == [1]
    with engine.begin() as connection:
        hold_everything(connection)
        sweep_incidents(connection, load_settings())
        roots = connection.execute(text("SELECT pipeline_id, root_id FROM incident ORDER BY id")).all()

    assert [tuple(row) for row in roots] == [(2, 2), (1, None)]


def test_what_opens_long_before_is_not_because_of_it(engine: Engine) -> None:
    build(engine, FED)
    find(engine, 2)
    change(engine, "UPDATE incident SET opened_at = opened_at - interval '31 seconds'")
    find(engine, 1)
    with engine.begin() as connection:
        hold_everything(connection)
        sweep_incidents(connection, load_settings())

        assert connection.scalar(text("SELECT count(root_id) FROM incident")) == 0


@pytest.mark.parametrize("kind", ["failing", "late", "missed", "stale", "anomalous"])
def test_a_failing_pipeline_is_silenced_by_no_lineage(engine: Engine, kind: str) -> None:
    build(engine, FED)
    find(engine, 1, kind=Kind(kind))

    assert find(engine, 2, kind=Kind.FAILING) == [2]


def test_a_root_that_was_snoozed_until_it_is_worse_silences_nothing_new(engine: Engine) -> None:
    build(engine, FED)
    find(engine, 1)
    change(engine, "UPDATE incident SET snooze = 'worse'")

    assert find(engine, 2) == [2]


def test_a_root_that_opens_again_while_it_is_snoozed_silences_nothing(engine: Engine) -> None:
    build(engine, FED)
    find(engine, 1)
    resolved = "state = 'resolved', resolved_at = now(), resolution = 'auto', told_at = NULL"
    change(engine, f"UPDATE incident SET {resolved}, snooze = 'time', snoozed_until = now() + interval '1 day'")

    assert find(engine, 1, 2) == [2]


def test_a_root_that_flaps_and_was_told_just_now_silences_nothing(engine: Engine) -> None:
    build(engine, FED)
    find(engine, 1)
    resolved = "state = 'resolved', resolved_at = now(), resolution = 'auto', told_at = NULL"
    change(engine, f"UPDATE incident SET {resolved}, flapping = true")

    assert find(engine, 1, 2) == [2]


def test_a_root_that_keeps_waiting_for_its_own_moment_silences_nothing(engine: Engine) -> None:
    build(engine, FED)
    find(engine, 1, mark=False)
    change(engine, "UPDATE incident SET speaks_at = now() + interval '1 hour'")

    assert find(engine, 1, 2) == [2]
