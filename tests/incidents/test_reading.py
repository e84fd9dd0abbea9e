"""Which incidents a list has, in which order, and what is known of one."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, insert, text

from tests.incidents.records import add_incident
from tests.support.rows import add_pipeline, add_run, ago, now
from watcher_server.alerts.levels import Level
from watcher_server.alerts.service import NewAlert, Subject, raise_alert
from watcher_server.freshness.models import FreshnessPipelineLog
from watcher_server.incidents.detail import read_incident
from watcher_server.incidents.grouping import count_live, read_effects, read_last_resolved
from watcher_server.incidents.kinds import Kind
from watcher_server.incidents.models import IncidentEvent
from watcher_server.incidents.reading import IncidentFilter, WantedState, count_incidents, list_incidents
from watcher_server.kit.errors import NotFoundError
from watcher_server.kit.listing import Page
from watcher_server.missed_runs.models import MissedRunLog


def ids(connection: Connection, page: Page | None = None, **wanted: Any) -> list[int]:
    chosen = IncidentFilter(**wanted)
    found = [incident.id for incident in list_incidents(connection, chosen, page or Page())]
    if page is None:
        assert len(found) == count_incidents(connection, chosen)
    return found


@pytest.fixture
def five(engine: Engine) -> list[int]:
    """In the order of the list: open and worst, open and newest, open, acknowledged, resolved."""
    with engine.begin() as connection:
        orders = add_pipeline(connection, "orders", owner="Finance", pipeline_metadata={"tags": ["gold", "Daily"]})
        prices = add_pipeline(
            connection, "prices_100%", pipeline_metadata={"owner": "sales"}, type_fields={"owner": "nobody"}
        )
        return [
            add_incident(connection, orders, "failing", level="ERROR", opened_at=ago(hours=3), detail="Execution ID 7"),
            add_incident(connection, prices, "stale", opened_at=ago(hours=1)),
            add_incident(connection, None, "queue", subject="scheduled", opened_at=ago(hours=2)),
            add_incident(connection, orders, "late", level="CRITICAL", state="acknowledged", assignee="Ada"),
            add_incident(connection, prices, "late", opened_at=ago(days=3), resolved_at=ago(days=2)),
        ]


def test_the_open_and_worst_come_first_and_the_resolved_last(engine: Engine, five: list[int]) -> None:
    with engine.begin() as connection:
        newer = add_incident(connection, None, "queue", subject="alerts", resolved_at=ago(days=1))
        assert ids(connection) == [*five[:4], newer, five[4]]


def test_a_state_chooses_and_live_is_all_that_is_not_resolved(engine: Engine, five: list[int]) -> None:
    with engine.connect() as connection:
        assert ids(connection, state=WantedState.LIVE) == five[:4]
        assert ids(connection, state=WantedState.OPEN) == five[:3]
        assert ids(connection, state=WantedState.ACKNOWLEDGED) == [five[3]]
        assert ids(connection, state=WantedState.RESOLVED) == [five[4]]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"kind": Kind.LATE}, [3, 4]),
        ({"owner": "finance"}, [0, 3]),
        ({"owner": "SALES"}, [1, 4]),
        ({"owner": "nobody"}, []),
        ({"tag": "gold"}, [0, 3]),
        ({"tag": "gol"}, []),
        ({"since": timedelta(hours=2, minutes=30)}, [1, 2, 3]),
        ({"since": timedelta(days=2, hours=12)}, [0, 1, 2, 3, 4]),
        ({"q": "ORD"}, [0, 3]),
        ({"q": "100%"}, [1, 4]),
        ({"q": "%"}, [1, 4]),
        ({"q": "schedul"}, [2]),
        ({"q": "execution id"}, [0]),
        ({"q": "ada"}, [3]),
        ({"q": "9" * 30}, []),
        ({"q": "²"}, []),
        ({"kind": Kind.LATE, "owner": "sales", "state": WantedState.RESOLVED}, [4]),
    ],
)
def test_filters(engine: Engine, five: list[int], wanted: dict[str, Any], expected: list[int]) -> None:
    if "since" in wanted:
        wanted = {**wanted, "since": now() - wanted["since"]}
    with engine.connect() as connection:
        assert ids(connection, **wanted) == [five[place] for place in expected]


def test_a_number_finds_its_incident(engine: Engine, five: list[int]) -> None:
    with engine.connect() as connection:
        assert ids(connection, q=f"#{five[2]}") == [five[2]]


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_pages_are_the_list_in_parts(engine: Engine, five: list[int], size: int) -> None:
    with engine.connect() as connection:
        pages = [ids(connection, Page(limit=size, offset=offset)) for offset in range(0, 6, size)]

    assert [id_ for page in pages for id_ in page] == five


def test_a_row_says_whose_it_is_and_what_explains_it(engine: Engine) -> None:
    with engine.begin() as connection:
        orders = add_pipeline(
            connection, "orders", owner="finance", criticality="high", type_fields={"runbook_url": "https://runbook"}
        )
        revenue = add_pipeline(connection, "revenue", type_fields={"runbook_url": "https://runbook"})
        root = add_incident(connection, orders, "failing", level="ERROR")
        effect = add_incident(connection, revenue, "stale", root_id=root, told_at=None)
        add_incident(connection, revenue, "late", root_id=root, resolved_at=ago(minutes=1))
        first, second = list_incidents(connection, IncidentFilter(state=WantedState.LIVE), Page())
        assert ids(connection, root_id=root, state=WantedState.LIVE) == [effect]

    assert (first.name, first.owner, first.criticality) == ("orders", "finance", "high")
    assert (first.runbook_url, first.effects, first.root_id) == ("https://runbook", 1, None)
    assert (second.criticality, second.effects, second.told_at) == ("normal", 0, None)
    assert (second.root_id, second.root_kind, second.root_name) == (root, "failing", "orders")


def test_what_is_no_pipeline_is_named_by_its_subject(engine: Engine) -> None:
    with engine.begin() as connection:
        add_incident(connection, None, "queue", subject="scheduled")
        (found,) = list_incidents(connection, IncidentFilter(), Page())

    assert (found.name, found.owner, found.criticality, found.tags) == ("scheduled", None, None, [])


def test_one_incident_has_its_timeline_effects_and_deliveries(engine: Engine) -> None:
    with engine.begin() as connection:
        orders, revenue = add_pipeline(connection, "orders"), add_pipeline(connection, "revenue")
        root = add_incident(connection, orders, "stale")
        effect = add_incident(connection, revenue, "stale", root_id=root)
        for change in ("opened", "told"):
            values = {"incident_id": root, "change": change, "actor": "watcher", "text": f"it was {change}"}
            connection.execute(insert(IncidentEvent).values(values))
        about = [Subject(incident_id=root, execution_id=1), Subject(incident_id=root, execution_id=2)]
        raise_alert(connection, NewAlert("key", Level.WARNING, "Title", "Message", subjects=about))
        detail = read_incident(connection, root)

    assert [(event.change, event.actor, event.text) for event in detail.timeline] == [
        ("opened", "watcher", "it was opened"),
        ("told", "watcher", "it was told"),
    ]
    assert [incident.id for incident in detail.effects] == [effect]
    assert [(one.title, one.channel, one.state, one.attempts) for one in detail.deliveries] == [
        ("Title", "default", "waiting", 0)
    ]


def test_the_evidence_of_a_failing_pipeline_is_its_run_and_what_that_says(engine: Engine) -> None:
    with engine.begin() as connection:
        orders = add_pipeline(connection)
        said = {"error": " no such table\n"}
        run = add_run(connection, orders, completed_successfully=False, execution_metadata=said)
        evidence = read_incident(connection, add_incident(connection, orders, "failing", execution_id=run)).evidence

    assert evidence.run is not None
    assert (evidence.run.id, evidence.run.completed_successfully, evidence.run.error) == (run, False, "no such table")


def test_the_evidence_of_a_check_is_what_it_logged_in_that_time(engine: Engine) -> None:
    with engine.begin() as connection:
        orders = add_pipeline(connection)
        stale = {"pipeline_id": orders, "freshness_number": 1, "freshness_datepart": "hour", "used_child_config": True}
        for days in (0.5, 2, 9):
            moment = ago(days=days)
            values = {**stale, "last_dml_timestamp": moment - timedelta(hours=1), "evaluated_at": moment}
            connection.execute(insert(FreshnessPipelineLog).values(values))
            missed = {"pipeline_id": orders, "schedule": "0 2 * * *", "schedule_timezone": "UTC"}
            values = {**missed, "schedule_grace_minutes": 10, "expected_at": moment, "evaluated_at": moment}
            connection.execute(insert(MissedRunLog).values(values))
        while_it_lasted = {"since": ago(days=3), "resolved_at": ago(days=1)}
        of_stale = read_incident(connection, add_incident(connection, orders, "stale", **while_it_lasted)).evidence
        of_missed = read_incident(connection, add_incident(connection, orders, "missed", **while_it_lasted)).evidence

    assert (len(of_stale.stale), len(of_stale.missed), of_stale.run) == (1, 0, None)
    assert (len(of_missed.stale), len(of_missed.missed)) == (0, 1)


def test_what_retention_has_deleted_is_no_error(engine: Engine) -> None:
    with engine.begin() as connection:
        gone = add_incident(connection, add_pipeline(connection), "anomalous", execution_id=4711)
        assert read_incident(connection, gone).evidence.run is None


def test_an_unknown_incident_is_not_found(engine: Engine) -> None:
    with engine.connect() as connection, pytest.raises(NotFoundError, match="No incident has the id 99"):
        read_incident(connection, 99)


def test_an_upstream_failure_is_perhaps_the_cause(engine: Engine) -> None:
    with engine.begin() as connection:
        pipelines = [add_pipeline(connection, name) for name in ("orders", "revenue")]
        connection.execute(text("INSERT INTO address_type (name, group_name) VALUES ('table', 'database')"))
        for name in ("raw", "orders", "revenue"):
            statement = "INSERT INTO address (name, address_type_id) SELECT :name, id FROM address_type"
            connection.execute(text(statement), {"name": name})
        flow = """
            INSERT INTO address_lineage (pipeline_id, source_address_id, target_address_id)
            SELECT :pipeline_id, source.id, target.id FROM address AS source, address AS target
            WHERE source.name = :source AND target.name = :target
        """
        for pipeline_id, source, target in zip(pipelines, ("raw", "orders"), ("orders", "revenue"), strict=True):
            connection.execute(text(flow), {"pipeline_id": pipeline_id, "source": source, "target": target})
        cause = add_incident(connection, pipelines[0], "failing", opened_at=ago(hours=2))
        effect = add_incident(connection, pipelines[1], "failing", opened_at=ago(hours=1))
        detail = read_incident(connection, effect)

    assert [incident.id for incident in detail.perhaps] == [cause]


def test_what_nothing_live_explains_and_what_each_root_explains(engine: Engine) -> None:
    with engine.begin() as connection:
        root, over, *others = (add_pipeline(connection, f"p{number}") for number in range(6))
        live = add_incident(connection, root)
        resolved = add_incident(connection, over, resolved_at=ago(hours=1))
        quiet = add_incident(connection, others[0], root_id=resolved)
        mild = [add_incident(connection, each, root_id=live) for each in others[1:3]]
        bad = add_incident(connection, others[3], root_id=live, level="ERROR", state="acknowledged")
        gone = add_incident(connection, others[3], "late", root_id=live, resolved_at=ago(hours=1))
        effects = read_effects(connection, [live, quiet], most=2)
        assert ids(connection, explained=False) == [quiet, live, resolved]
        assert {*ids(connection, explained=True)} == {*mild, bad, gone}
        assert {key: [each.id for each in found] for key, found in effects.items()} == {live: [bad, mild[1]]}
        assert count_live(connection) == (4, 1, 3)
        assert read_effects(connection, [], most=2) == {}


def test_since_when_all_is_well(engine: Engine) -> None:
    with engine.begin() as connection:
        assert read_last_resolved(connection) is None
        moment = ago(hours=1)
        for resolved_at in (ago(hours=2), moment):
            add_incident(connection, None, "queue", subject="celery", resolved_at=resolved_at)
        assert read_last_resolved(connection) == moment
