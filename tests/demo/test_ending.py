"""A demo that ends with the night of the blizzard ends with the incidents of that night."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import httpx
import httpx2
import psycopg
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from tests.conftest import OWN_PROCESSES, create_database, worker_broker
from tests.mcp.asking import ask
from tests.support.live import LiveServer, start_live
from watcher_server.demo.command import demo

FIRST = datetime(2013, 1, 10)  # noqa: DTZ001 - a calendar day, as the command line gives it
BLIZZARD = datetime(2013, 2, 9)  # noqa: DTZ001 - the same


@pytest.fixture(scope="module")
def replayed(worker_id: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    database_url = create_database(f"watcher_ending_{worker_id}")
    # Before three in the morning (UTC) the latest night is older than a day.
    settings = {"WATCHER_ALERT_MAX_AGE_HOURS": "30"}
    logs = tmp_path_factory.mktemp("ending")
    with start_live(database_url, worker_broker(worker_id, OWN_PROCESSES), logs, settings=settings) as server:
        demo(url=server.url, warehouse_url=server.database_url, first=FIRST, ending=BLIZZARD)
        yield server


@pytest.fixture(scope="module")
def incidents(replayed: LiveServer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = httpx.get(f"{replayed.url}/incident?state=live").json()
    return found


def test_the_blizzard_is_one_incident_that_explains_the_others(incidents: list[dict[str, Any]]) -> None:
    anomalous = [incident for incident in incidents if incident["kind"] == "anomalous"]
    (root,) = [incident for incident in anomalous if incident["root_id"] is None]

    assert len(anomalous) >= 12
    assert {incident["root_id"] for incident in anomalous} == {None, root["id"]}
    assert root["effects"] == len(anomalous) - 1


def test_one_message_names_the_table_and_the_pipelines(replayed: LiveServer, incidents: list[dict[str, Any]]) -> None:
    with psycopg.connect(replayed.database_url) as connection:
        (details,) = connection.execute("SELECT details FROM alert WHERE kind = 'anomalous'").fetchall()
    said = dict(details[0])
    effects = [i["pipeline_name"] for i in incidents if i["kind"] == "anomalous" and i["root_id"] is not None]

    assert said["Tables"].endswith(".demo_flights.flights")
    assert {*said["Also out of range"].partition(" and ")[0].split(", ")} <= {*effects}


def test_it_ends_with_a_broken_load_and_what_it_perhaps_broke(incidents: list[dict[str, Any]]) -> None:
    failing = {incident["pipeline_name"]: incident for incident in incidents if incident["kind"] == "failing"}

    assert {*failing} == {"weather reference load", "weather delays mart"}
    assert "503 Service Unavailable" in failing["weather reference load"]["detail"]


async def test_an_assistant_finds_the_broken_root_in_three_calls(replayed: LiveServer) -> None:
    async with (
        httpx2.AsyncClient() as http,
        Client(streamable_http_client(f"{replayed.url}/mcp", http_client=http)) as client,
    ):
        # Each answer is at most 8,000 characters, which ``ask`` checks.
        mart = await ask(client, "explain_incident", about="weather delays mart")
        upstream = await ask(client, "upstream_of", of="weather delays mart")
        root = await ask(client, "explain_incident", about="weather reference load")

    assert "⟦weather reference load⟧" in mart.partition("Perhaps because of")[2]
    assert "demo_flights.staging_weather⟧ is failing" in upstream
    assert "503 Service Unavailable" in root
