"""From an HTTP request to an alert, through a real api, outbox, relay, broker, worker and database."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row

from tests.support.live import LiveServer, wait_until


@pytest.fixture
def api(live: LiveServer) -> httpx.Client:
    return httpx.Client(base_url=live.url)


@pytest.fixture
def database(live: LiveServer) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    with psycopg.connect(live.database_url, autocommit=True, row_factory=dict_row) as connection:
        yield connection


def run(api: httpx.Client, pipeline_id: int, at: datetime, inserts: int, **start: Any) -> int:
    body = {"pipeline_id": pipeline_id, "start_date": at.isoformat(), **start}
    execution_id = int(api.post("/start_pipeline_execution", json=body).json()["id"])
    end = {
        "id": execution_id,
        "end_date": (at + timedelta(minutes=1)).isoformat(),
        "completed_successfully": True,
        "inserts": inserts,
    }
    assert api.post("/end_pipeline_execution", json=end).status_code == 204
    return execution_id


def test_an_outlier_is_flagged_and_alerted_once(
    live: LiveServer, api: httpx.Client, database: psycopg.Connection[dict[str, Any]]
) -> None:
    pipeline_id = api.post("/pipeline", json={"name": "journey", "pipeline_type_name": "t"}).json()["id"]
    rule = {"pipeline_id": pipeline_id, "metric_field": "inserts", "minimum_executions": 5}
    assert api.post("/anomaly_detection_rule", json=rule).status_code == 201
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
    for day in range(8, 0, -1):
        run(api, pipeline_id, now - timedelta(days=day), 1000 + day)

    outlier = run(api, pipeline_id, now, 0)

    def flags() -> Any:
        return api.get(f"/pipeline_execution/{outlier}").json()["anomaly_flags"]

    wait_until(lambda: flags() == {"inserts": True}, "the outlier being flagged")

    def alerts() -> list[dict[str, Any]]:
        key = f"anomaly:{outlier}"
        statement = "SELECT message, sent_to FROM alert JOIN notification ON alert_id = alert.id WHERE dedupe_key = %s"
        return database.execute(statement, [key]).fetchall()

    # It waits half a minute for others that go out of range.
    wait_until(lambda: alerts()[0]["sent_to"] is not None, "the alert being delivered", 90)
    assert len(alerts()) == 1
    expected = f"Anomalies Detected for Pipeline 'journey' (ID: {pipeline_id}) - Execution ID {outlier} flagged"
    assert (alerts()[0]["message"], alerts()[0]["sent_to"]) == (expected, "log")
    wait_until(lambda: expected in (live.logs / "worker.log").read_text(), "the alert standing in the worker's log")


def test_a_tree_of_runs_gets_its_closure(api: httpx.Client, database: psycopg.Connection[dict[str, Any]]) -> None:
    pipeline_id = api.post("/pipeline", json={"name": "tree", "pipeline_type_name": "t"}).json()["id"]
    at = datetime.now(UTC) - timedelta(hours=1)
    root = run(api, pipeline_id, at, 1)
    child = run(api, pipeline_id, at, 1, parent_id=root)
    grandchild = run(api, pipeline_id, at, 1, parent_id=child)

    def depths() -> dict[int, int]:
        rows = database.execute(
            "SELECT parent_execution_id, depth FROM pipeline_execution_closure WHERE child_execution_id = %s",
            [grandchild],
        )
        return {row["parent_execution_id"]: row["depth"] for row in rows}

    wait_until(lambda: depths() == {grandchild: 0, child: 1, root: 2}, "the closure being written")


def test_lineage_gets_its_closure(api: httpx.Client, database: psycopg.Connection[dict[str, Any]]) -> None:
    def address(name: str) -> dict[str, str]:
        return {"name": name, "address_type_name": "file", "address_type_group_name": "storage"}

    for number, (source, target) in enumerate([("j-a", "j-b"), ("j-b", "j-c"), ("j-c", "j-a")]):
        pipeline = {"name": f"lineage {number}", "pipeline_type_name": "t"}
        pipeline_id = api.post("/pipeline", json=pipeline).json()["id"]
        body = {
            "pipeline_id": pipeline_id,
            "source_addresses": [address(source)],
            "target_addresses": [address(target)],
        }
        assert api.post("/address_lineage", json=body).status_code == 201

    statement = """
        SELECT source.name AS source, target.name AS target, depth FROM address_lineage_closure
        JOIN address AS source ON source.id = source_address_id
        JOIN address AS target ON target.id = target_address_id
        WHERE source.name = 'j-a' ORDER BY depth
    """

    def from_a() -> list[tuple[str, int]]:
        return [(row["target"], row["depth"]) for row in database.execute(statement)]

    wait_until(lambda: from_a() == [("j-a", 0), ("j-b", 1), ("j-c", 2)], "the closure of the cycle being written")


def test_checks_asked_for_over_http_run(api: httpx.Client, database: psycopg.Connection[dict[str, Any]]) -> None:
    body = {
        "name": "stale",
        "pipeline_type_name": "t",
        "freshness_number": 1,
        "freshness_datepart": "hour",
        "timeliness_number": 1,
        "timeliness_datepart": "minute",
    }
    pipeline_id = api.post("/pipeline", json=body).json()["id"]
    run(api, pipeline_id, datetime.now(UTC) - timedelta(hours=3), 1)
    hanging = {"pipeline_id": pipeline_id, "start_date": (datetime.now(UTC) - timedelta(days=400)).isoformat()}
    api.post("/start_pipeline_execution", json=hanging)

    assert api.post("/freshness").json() == {"status": "queued"}
    assert api.post("/timeliness", json={"lookback_minutes": 60}).json() == {"status": "queued"}

    def delivered() -> set[str]:
        rows = database.execute("SELECT title FROM alert JOIN notification ON alert_id = alert.id WHERE state = 'sent'")
        return {row["title"] for row in rows}

    expected = {"Freshness Check - Pipeline DML", "Timeliness Check - Pipeline Execution"}
    wait_until(lambda: expected <= delivered(), "both checks alerting")
