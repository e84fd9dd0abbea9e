"""What the sweep says of open and resolved incidents, and of which it says nothing."""

import pytest
from sqlalchemy import Connection, Engine

from tests.incidents.records import add_incident, incident
from tests.support.rows import add_pipeline, add_run, ago, alerts
from watcher_server.incidents.sweep import sweep_incidents, tell_resolved
from watcher_server.settings import Settings, load_settings


@pytest.fixture
def settings(database_url: str) -> Settings:
    return load_settings(database_url=database_url)


def failing_pipeline(connection: Connection, name: str = "orders") -> int:
    """A pipeline whose newest run failed, so that the sweep resolves nothing."""
    pipeline_id = add_pipeline(connection, name)
    add_run(connection, pipeline_id, completed_successfully=False)
    return pipeline_id


def test_what_is_acknowledged_is_told_once_nobody_has_it_any_more(engine: Engine, settings: Settings) -> None:
    with engine.begin() as connection:
        taken = {"state": "acknowledged", "acknowledged_by": "ada", "speaks_at": ago(minutes=1)}
        id_ = add_incident(connection, failing_pipeline(connection), "failing", **taken)
        sweep_incidents(connection, settings)
        assert alerts(connection) == []
        connection.exec_driver_sql("UPDATE incident SET acknowledged_until = now() - interval '1 second'")
        sweep_incidents(connection, settings)
        (alert,) = alerts(connection)

    assert alert["message"] == "Pipeline 'orders' (ID: 1) still failing"
    assert f"(#{id_})" in alert["text"]


@pytest.mark.parametrize(
    ("resolution", "message"),
    [
        ("auto", "Pipeline 'orders' (ID: 1) succeeded again"),
        ("hand", "Pipeline 'orders' (ID: 1) resolved by hand"),
        ("paused", "Pipeline 'orders' (ID: 1) paused or muted"),
    ],
)
def test_a_message_says_how_it_ended(engine: Engine, settings: Settings, resolution: str, message: str) -> None:
    with engine.begin() as connection:
        ended = {"resolved_at": ago(minutes=3), "resolution": resolution, "tell_resolved_at": ago(minutes=1)}
        id_ = add_incident(connection, failing_pipeline(connection), "failing", **ended)
        tell_resolved(connection, settings)
        (alert,) = alerts(connection)
        assert incident(connection, id_)["told_at"] is None

    assert (alert["level"], alert["message"]) == ("RESOLVED", message)


def test_what_ended_in_different_ways_is_told_apart(engine: Engine, settings: Settings) -> None:
    with engine.begin() as connection:
        for name, resolution in (("orders", "auto"), ("prices", "hand"), ("sales", "auto")):
            ended = {"resolved_at": ago(minutes=3), "resolution": resolution, "tell_resolved_at": ago(minutes=1)}
            add_incident(connection, failing_pipeline(connection, name), "failing", **ended)
        tell_resolved(connection, settings)
        messages = {alert["message"] for alert in alerts(connection)}

    assert messages == {"2 incidents: succeeded again", "Pipeline 'prices' (ID: 2) resolved by hand"}
