"""The client that people use, and requests as Java's client makes them, against a real api and a real worker."""

import gzip
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import output_statistics_output_dataset
from sqlalchemy import Engine, NullPool, create_engine, text

from tests.conftest import OWN_PROCESSES, create_database, worker_broker
from tests.support.cluster import Cluster, start_cluster
from tests.support.live import start_live, wait_until
from tests.support.openlineage import output, run_event
from watcher_server.auth.service import create_token
from watcher_server.database.engine import sqlalchemy_url
from watcher_server.openlineage import EVENT_PATH

pytestmark = pytest.mark.timeout(300)
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
PRODUCER = "https://example.com/loader"


@dataclass(frozen=True)
class Server:
    """A server with one token, which may only report."""

    url: str
    token: str
    engine: Engine


@pytest.fixture(scope="module")
def server(worker_id: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    database_url = create_database(f"watcher_openlineage_{worker_id}")
    engine = create_engine(sqlalchemy_url(database_url), poolclass=NullPool)
    with engine.begin() as connection:
        token = create_token(connection, "spark", "ingest")
    broker_url = worker_broker(worker_id, OWN_PROCESSES)
    with start_live(database_url, broker_url, tmp_path_factory.mktemp("live")) as live:
        yield Server(live.url, token, engine)


def client_events(name: str, run_id: str | None = None) -> list[RunEvent]:
    """A run from its start to its end, as the client writes it."""
    run, job = Run(runId=run_id or str(uuid4())), Job(namespace="demo", name=name)
    statistics = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(rowCount=7)
    written = OutputDataset(
        namespace="postgres://wh:5432", name="shop.public.daily", outputFacets={"outputStatistics": statistics}
    )
    times = [(START + timedelta(seconds=seconds)).isoformat() for seconds in (0, 90)]
    return [
        RunEvent(eventType=RunState.START, eventTime=times[0], run=run, job=job, producer=PRODUCER),
        RunEvent(
            eventType=RunState.COMPLETE, eventTime=times[1], run=run, job=job, producer=PRODUCER, outputs=[written]
        ),
    ]


def ends(engine: Engine, name: str) -> list[tuple[Any, ...]]:
    statement = """
        SELECT end_date, completed_successfully, total_rows FROM pipeline_execution AS execution
        JOIN pipeline ON pipeline.id = pipeline_id WHERE pipeline.name = :name
    """
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(statement), {"name": f"demo/{name}"})]


def wait_for_the_run(engine: Engine, name: str) -> None:
    ended = [(START + timedelta(seconds=90), True, 7)]
    wait_until(lambda: ends(engine, name) == ended, f"the run of {name}", 60)


@pytest.mark.parametrize("end", ["", "/"])
def test_two_variables_are_enough(server: Server, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    name = f"variables{len(end)}"
    monkeypatch.setenv("OPENLINEAGE_URL", server.url + end)
    monkeypatch.setenv("OPENLINEAGE_API_KEY", server.token)
    client = OpenLineageClient()
    for event in client_events(name):
        client.emit(event)
    client.close()

    wait_for_the_run(server.engine, name)


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("kind", ["http", "async_http"])
def test_each_transport_reports_a_run(server: Server, kind: str, compression: str | None) -> None:
    name = f"{kind}.{compression}".lower()
    transport = {"type": kind, "url": server.url, "auth": {"type": "api_key", "apiKey": server.token}}
    client = OpenLineageClient(config={"transport": transport | ({"compression": compression} if compression else {})})
    for event in client_events(name):
        client.emit(event)
    assert client.close(30)

    wait_for_the_run(server.engine, name)


def test_many_runs_at_once_are_all_taken(server: Server) -> None:
    auth = {"type": "api_key", "apiKey": server.token}
    client = OpenLineageClient(config={"transport": {"type": "async_http", "url": server.url, "auth": auth}})
    for _ in range(100):
        for event in client_events("many"):
            client.emit(event)
    assert client.close(60)

    wait_until(lambda: len(ends(server.engine, "many")) == 100, "a hundred runs", 60)


@pytest.mark.parametrize("path", [EVENT_PATH, f"{EVENT_PATH}?key=value", "/"])
@pytest.mark.parametrize("encoding", [{}, {"Content-Encoding": "gzip"}], ids=["older", "newer"])
def test_a_request_of_javas_client_is_taken(server: Server, path: str, encoding: dict[str, str]) -> None:
    name = f"java.{uuid4()}"
    address = urlsplit(server.url)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=30)
    headers = {
        "Authorization": f"Bearer {server.token}",
        "Content-Type": "application/json; charset=UTF-8",
        "Accept": "application/json, application/*+json, text/plain, */*",
        **encoding,
    }
    written = output("shop.public.daily", rows=7)
    for kind, seconds in (("START", 0), ("COMPLETE", 90)):
        event = run_event(kind, START + timedelta(seconds=seconds), job=name, outputs=[written])
        packed = gzip.compress(json.dumps(event).encode())
        pieces = [packed[start : start + 100] for start in range(0, len(packed), 100)]
        connection.request("POST", path, iter(pieces), headers, encode_chunked=True)
        answer = connection.getresponse()
        assert (answer.status, list(json.loads(answer.read()))) == (201, ["event_id"])
    connection.close()

    wait_for_the_run(server.engine, name)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """An api and a worker, with a database that can be stopped."""
    with start_cluster({"WATCHER_TASK_RETRY_DELAY_SECONDS": "1"}) as cluster:
        cluster.add_api("api")
        cluster.add_worker("worker")
        cluster.start_all()
        yield cluster


@pytest.mark.parametrize("kind", ["http", "async_http"])
def test_a_database_that_is_away_loses_nothing(cluster: Cluster, kind: str) -> None:
    url = cluster.urls["api"]
    client = OpenLineageClient(config={"transport": {"type": kind, "url": url}})
    known = f"{kind}.known"
    for event in client_events(known):
        client.emit(event)
    wait_for_the_run(cluster.engine, known)

    cluster.database.stop()
    # Within the time that a client waits.
    refused = [httpx.post(f"{url}{EVENT_PATH}", json=run_event("START", START), timeout=5) for _ in range(12)]
    with ThreadPoolExecutor(1) as thread:
        sending = thread.submit(_send, client, client_events(kind))
        cluster.database.start()
        assert sending.result()

    assert {(answer.status_code, answer.headers["retry-after"]) for answer in refused} == {(503, "1")}
    wait_for_the_run(cluster.engine, kind)
    with cluster.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM openlineage_event WHERE applied_at IS NULL")) == 0


def _send(client: OpenLineageClient, events: list[RunEvent]) -> bool:
    for event in events:
        client.emit(event)
    return bool(client.close(60))
