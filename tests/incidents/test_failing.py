"""A pipeline whose newest runs failed: one incident, one message, until a later run succeeds."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import Engine, text

from tests.incidents.passing import incidents, sweep, told, wait
from tests.support.rows import add_pipeline, add_run, ago, alerts, change_pipeline
from watcher_server.alerts.service import alert_text
from watcher_server.celery_tasks import judge_failure_task
from watcher_server.incidents.failing import judge_failure
from watcher_server.incidents.opening import Opening
from watcher_server.settings import get_settings

FAILED = "Pipeline 'orders' (ID: 1) failed - Execution ID"


def add(engine: Engine, **fields: Any) -> int:
    with engine.begin() as connection:
        return add_pipeline(connection, **fields)


def judge(engine: Engine, pipeline_id: int = 1, *, hours: int = 24) -> Opening | None:
    with engine.begin() as connection:
        return judge_failure(connection, pipeline_id, alert_max_age_hours=hours)


def end(engine: Engine, minutes_ago: float, *, succeeded: bool = False, **fields: Any) -> int:
    """A run of the first pipeline that ended so long ago, judged if it failed."""
    with engine.begin() as connection:
        ended = ago(minutes=minutes_ago)
        run_id = add_run(connection, 1, end_date=ended, completed_successfully=succeeded, **fields)
    if not succeeded:
        judge(engine)
    return run_id


def said(engine: Engine) -> str:
    """The latest message, whole."""
    with engine.connect() as connection:
        alert = alerts(connection)[-1]
    names = ("level", "title", "message", "details")
    return alert_text(
        **{name: alert[name] for name in names}, created_at=datetime.fromisoformat("2026-11-22T02:14:09Z")
    )


@pytest.mark.parametrize("public_url", [None, "https://watcher.example/"])
def test_the_first_failure_is_told(engine: Engine, monkeypatch: pytest.MonkeyPatch, public_url: str | None) -> None:
    monkeypatch.setattr(get_settings(), "public_url", public_url)
    add(engine, owner="finance", runbook_url="https://wiki.example/orders")
    run_id = end(engine, 1, execution_metadata={"error": 'relation "x" is\ngone'})

    since = incidents(engine)[0]["since"]
    page = "Incident 1: https://watcher.example/ui/incidents/1" if public_url else "Incident: #1"
    assert said(engine).splitlines() == [
        "❌ ERROR",
        "Pipeline Failing",
        "Timestamp: 2026-11-22 02:14:09 UTC",
        f"Message: {FAILED} {run_id}",
        "",
        "Details:",
        f"• Since: {since:%Y-%m-%d %H:%M:%S} UTC, owner finance",
        '• Error: relation "x" is gone',
        f"• {page}",
        "• Runbook: https://wiki.example/orders",
    ]


def test_further_failures_are_only_counted(engine: Engine) -> None:
    add(engine)
    end(engine, 30)
    latest = [end(engine, minutes) for minutes in (20, 10)][-1]

    assert len(told(engine)) == 1
    (incident,) = incidents(engine)
    assert (incident["count"], incident["execution_id"], incident["version"]) == (3, latest, 1)
    assert incident["detail"] == f"Execution ID {latest}, 3 runs in a row"


def test_it_takes_as_many_failures_in_a_row_as_the_pipeline_says(engine: Engine) -> None:
    add(engine, fail_after=3)
    for minutes in (50, 40):
        end(engine, minutes)
    end(engine, 35, succeeded=True)
    for minutes in (30, 20):
        end(engine, minutes)
    assert told(engine) == []

    run_id = end(engine, 10)

    assert told(engine) == [f"ERROR {FAILED} {run_id}, 3 runs in a row"]


def test_more_failures_than_are_counted_by_themselves_can_be_asked_for(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("watcher_server.incidents.failing.MOST_FAILURES", 2)
    add(engine, fail_after=3)
    for minutes in (30, 20, 10):
        end(engine, minutes)

    assert len(told(engine)) == 1


def test_a_run_that_started_later_and_succeeds_ends_it(engine: Engine) -> None:
    add(engine)
    end(engine, 10)
    end(engine, 20, succeeded=True)
    assert sweep(engine) == 0

    end(engine, 5, succeeded=True)

    assert sweep(engine) == 1
    assert incidents(engine)[0]["resolution"] == "auto"
    assert len(told(engine)) == 1
    wait(engine, minutes=2)
    assert told(engine)[1:] == ["RESOLVED Pipeline 'orders' (ID: 1) succeeded again"]
    sweep(engine)
    assert len(told(engine)) == 2


def test_a_run_that_is_going_ends_nothing(engine: Engine) -> None:
    add(engine)
    end(engine, 10)
    with engine.begin() as connection:
        add_run(connection, 1, start_date=ago(minutes=1), end_date=None)

    assert sweep(engine) == 0


def test_what_was_replayed_opens_nothing(engine: Engine) -> None:
    add(engine)
    end(engine, 25 * 60)

    assert incidents(engine) == []


def test_an_old_failure_behind_a_newer_success_opens_nothing(engine: Engine) -> None:
    add(engine)
    end(engine, 5, succeeded=True)
    end(engine, 10)

    assert incidents(engine) == []


def test_an_inactive_pipeline_opens_nothing(engine: Engine) -> None:
    add(engine, active=False)
    end(engine, 1)

    assert incidents(engine) == []


@pytest.mark.parametrize(
    ("own", "of_type", "level"),
    [(None, None, "ERROR"), ("low", None, "WARNING"), ("high", None, "CRITICAL"), (None, "high", "CRITICAL"),
     ("normal", "high", "ERROR")],
)  # fmt: skip
def test_criticality_moves_the_level(engine: Engine, own: str | None, of_type: str | None, level: str) -> None:
    add(engine, criticality=own, type_fields={"criticality": of_type})
    end(engine, 1)

    assert incidents(engine)[0]["level"] == level
    assert told(engine)[0].startswith(level)


@pytest.mark.parametrize(
    ("metadata", "error"),
    [
        ({"error": "one", "message": "two"}, "one"),
        ({"error": " \n", "exception": "three"}, "three"),
        ({"error": {"nested": "x"}, "error_message": "four"}, "four"),
        ({"error": "x" * 1000}, "x" * 300),
        ({"error": "a\u2028\x1b[31m<!channel>\r\n• Incident: #7"}, "a\u2028\x1b[31m<!channel>\r\n• Incident: #7"),
        (["error"], None),
        ("error", None),
        ({}, None),
        (None, None),
    ],
)
def test_the_error_is_what_the_run_says_of_itself(engine: Engine, metadata: Any, error: str | None) -> None:
    add(engine)
    run_id = end(engine, 1, execution_metadata=metadata)

    expected = f"Execution ID {run_id}" if error is None else f"Execution ID {run_id}: {error}"
    assert incidents(engine)[0]["detail"] == expected
    # However many lines it has, it forges none of the message.
    assert sum(line.startswith("• Incident") for line in said(engine).split("\n")) == 1


def test_two_judgements_at_once_open_one(engine: Engine) -> None:
    add(engine)
    with engine.begin() as connection:
        for minutes in (2, 1):
            add_run(connection, 1, end_date=ago(minutes=minutes), completed_successfully=False)

    with ThreadPoolExecutor(4) as pool:
        openings = list(pool.map(lambda _: judge(engine), range(4)))

    assert sorted(opening.change for opening in openings if opening) == ["counted"] * 3 + ["opened"]
    assert [incident["count"] for incident in incidents(engine)] == [2]
    assert len(told(engine)) == 1


def test_a_pipeline_that_is_not_active_any_more_is_paused(engine: Engine) -> None:
    add(engine)
    end(engine, 1)
    with engine.begin() as connection:
        change_pipeline(connection, 1, active=False)

    assert sweep(engine) == 1
    wait(engine, minutes=2)

    assert incidents(engine)[0]["resolution"] == "paused"
    assert told(engine)[1] == "RESOLVED Pipeline 'orders' (ID: 1) paused or muted"


def test_what_may_be_its_cause_is_named_and_silences_nobody(engine: Engine) -> None:
    with engine.begin() as connection:
        names = [add_pipeline(connection, name) for name in ("source", "middle", "target")]
        connection.execute(text("INSERT INTO address_type (name, group_name) VALUES ('table', 'database')"))
        for number in range(1, 5):
            connection.execute(text("INSERT INTO address (name, address_type_id) VALUES (:name, 1)"), {"name": number})
        edges = (
            "INSERT INTO address_lineage (pipeline_id, source_address_id, target_address_id) VALUES (:p, :p, :p + 1)"
        )
        closure = "INSERT INTO address_lineage_closure VALUES (:s, :t, :t - :s, '{}')"
        for pipeline_id in names:
            connection.execute(text(edges), {"p": pipeline_id})
        for source in range(1, 5):
            for target in range(source, 5):
                connection.execute(text(closure), {"s": source, "t": target})
        for pipeline_id in (1, 3):
            add_run(connection, pipeline_id, end_date=ago(minutes=1), completed_successfully=False)
    for pipeline_id in (1, 3):
        judge(engine, pipeline_id)

    assert [incident["root_id"] for incident in incidents(engine)] == [None, None]
    assert "• Touches: 2 addresses downstream" in said_of(engine, 0)
    assert "• Perhaps because of: #1" in said_of(engine, 1)


def said_of(engine: Engine, place: int) -> list[str]:
    with engine.connect() as connection:
        return [f"• {label}: {value}" for label, value in alerts(connection)[place]["details"]]


def test_the_task_of_a_run_or_a_pipeline_that_does_not_exist_says_so(engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline_id = add_pipeline(connection)

    nothing = {"incident_id": None, "change": None}
    assert judge_failure_task(pipeline_id, 99) == {**nothing, "skipped": "no such execution"}
    assert judge_failure_task(99, 99) == {**nothing, "skipped": "no such pipeline"}
