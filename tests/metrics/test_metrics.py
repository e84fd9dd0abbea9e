"""What Prometheus reads from the api."""

import math
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Connection, Engine, insert, text

from tests.conftest import MakeClient
from tests.support.rows import ago, now
from watcher_server.auth.scopes import Scope
from watcher_server.auth.service import create_token
from watcher_server.database.engine import create_query_engine
from watcher_server.settings import load_settings
from watcher_server.tasking.models import OutboxMessage, TaskRun, Worker
from watcher_server.tasking.sending.broker import redis_client

HOURLY = "freshness_check_task"


@pytest.fixture
def broker(broker_url: str) -> Iterator["redis.Redis"]:
    with redis_client(broker_url) as client:
        client.flushdb()
        yield client
        client.flushdb()


class Metrics:
    """An answer, read as Prometheus reads it."""

    def __init__(self, answer: httpx.Response) -> None:
        assert answer.status_code == 200, answer.text
        families = text_string_to_metric_families(answer.text)
        self._values = {
            (sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples
        }

    def value(self, name: str, *labels: str) -> float | None:
        return self._values.get((name, *labels))


async def _metrics(client: httpx.AsyncClient) -> Metrics:
    return Metrics(await client.get("/metrics"))


def _add_worker(connection: Connection, name: str, **fields: Any) -> None:
    values = {"id": uuid4(), "name": name, "host": "here", "pid": 1, "queues": ["celery"], "processes": 2, **fields}
    connection.execute(insert(Worker).values(values))


def _add_task(connection: Connection, name: str, state: str, **fields: Any) -> None:
    values = {"id": uuid4(), "name": name, "kwargs": {}, "queue": "celery", "state": state, **fields}
    connection.execute(insert(TaskRun).values(values))


def _add_to_outbox(connection: Connection, name: str, number: int, **fields: Any) -> None:
    connection.execute(insert(OutboxMessage), [{"task_name": name, "kwargs": {}, **fields}] * number)


async def test_an_empty_watcher_shows_zeroes_and_no_gaps(client: httpx.AsyncClient, broker: "redis.Redis") -> None:
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    metrics = Metrics(answer)
    for name in ("watcher_up", "watcher_database_up", "watcher_broker_up"):
        assert metrics.value(name) == 1
    for queue in ("celery", "scheduled"):
        assert metrics.value("celery_queue_length", queue) == 0
        assert metrics.value("watcher_queue_ready", queue) == 0
        assert metrics.value("watcher_queue_oldest_seconds", queue) == 0
        assert metrics.value("watcher_queue_drain_seconds", queue) == 0
        assert metrics.value("celery_active_worker_count", queue) == 0
        assert metrics.value("celery_active_process_count", queue) == 0
    assert metrics.value("watcher_outbox_messages", "detect_anomalies_task") == 0
    assert metrics.value("watcher_tasks_failed", "detect_anomalies_task") == 0
    assert metrics.value("watcher_queue_unacknowledged") == 0
    assert metrics.value("watcher_queue_scheduled") == 0


async def test_what_waits_is_counted_wherever_it_waits(
    client: httpx.AsyncClient, engine: Engine, broker: "redis.Redis"
) -> None:
    broker.lpush("celery", *["message"] * 3)
    broker.lpush("celery\x06\x169", "message")
    broker.hset("unacked", "tag", "[]")
    with engine.begin() as connection:
        _add_to_outbox(connection, "detect_anomalies_task", 5, due_at=ago(seconds=90))
        _add_to_outbox(connection, "detect_anomalies_task", 2, due_at=now() + timedelta(hours=1))

    metrics = await _metrics(client)

    assert metrics.value("watcher_queue_ready", "celery") == 4
    assert metrics.value("celery_queue_length", "celery") == 9
    assert metrics.value("watcher_queue_unacknowledged") == 1
    assert metrics.value("watcher_queue_scheduled") == 2
    assert metrics.value("watcher_outbox_messages", "detect_anomalies_task") == 5
    assert 90 <= (metrics.value("watcher_queue_oldest_seconds", "celery") or 0) < 150
    # Nothing has gone out in the last minute.
    assert metrics.value("watcher_queue_drain_seconds", "celery") == math.inf


async def test_living_and_dead_workers_are_told_apart(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        _add_worker(connection, "one@here", queues=["celery", "scheduled"], processes=4)
        _add_worker(connection, "two@here")
        _add_worker(connection, "killed@here", seen_at=ago(minutes=5))
        _add_worker(connection, "killed-yesterday@here", seen_at=ago(days=1))
        _add_worker(connection, "stopped@here", stopped_at=ago(minutes=5), seen_at=ago(minutes=5))
        # It died, and was started again.
        _add_worker(connection, "two@here", seen_at=ago(minutes=5))

    metrics = await _metrics(client)

    assert metrics.value("celery_worker_up", "one@here") == 1
    assert metrics.value("celery_worker_up", "two@here") == 1
    assert metrics.value("celery_worker_up", "killed@here") == 0
    assert metrics.value("celery_worker_up", "killed-yesterday@here") is None
    assert metrics.value("celery_worker_up", "stopped@here") is None
    assert metrics.value("celery_active_worker_count", "celery") == 2
    assert metrics.value("celery_active_process_count", "celery") == 6
    assert metrics.value("celery_active_process_count", "scheduled") == 4


async def test_kept_failures_and_limits_are_shown(make_client: MakeClient, engine: Engine) -> None:
    with engine.begin() as connection:
        _add_task(connection, "detect_anomalies_task", "FAILURE")
        _add_task(connection, "somebody_elses_task", "FAILURE")
        connection.execute(
            text("INSERT INTO rate_limit_override VALUES ('detect_anomalies_task', 100, now() + interval '1 hour')")
        )
    async with make_client(freshness_check_rate_limit="none", timeliness_check_rate_limit="30/m") as client:
        metrics = await _metrics(client)
    assert metrics.value("watcher_tasks_failed", "detect_anomalies_task") == 1
    assert metrics.value("watcher_tasks_failed", "somebody_elses_task") == 1
    assert metrics.value("watcher_tasks_failed", HOURLY) == 0
    assert metrics.value("watcher_rate_limit_per_second", "detect_anomalies_task") == 100
    assert metrics.value("watcher_rate_limit_per_second", HOURLY) == math.inf
    assert metrics.value("watcher_rate_limit_per_second", "timeliness_check_task") == 0.5


async def test_a_scheduled_check_that_does_not_run_is_overdue(make_client: MakeClient, engine: Engine) -> None:
    with engine.begin() as connection:
        _add_worker(connection, "one@here", started_at=ago(hours=5))
        _add_task(connection, HOURLY, "SUCCESS", created_at=ago(hours=3))
        _add_task(connection, HOURLY, "FAILURE", created_at=ago(minutes=1))
    async with make_client(timeliness_check_schedule="* * * * *") as client:
        metrics = await _metrics(client)
    # It ran three hours ago, and should have at the next full hour: a minute more is what the test itself may take.
    assert 2 * 3600 <= (metrics.value("watcher_scheduled_check_overdue_seconds", HOURLY) or 0) <= 3 * 3600 + 60
    # It never ran, for as long as there has been a worker: of one that started on the day before, from the
    # next full hour, as Celery counts.
    never = metrics.value("watcher_scheduled_check_overdue_seconds", "timeliness_check_task")
    assert 3.9 * 3600 <= (never or 0) <= 5 * 3600 + 60


async def test_a_scheduled_check_that_just_ran_is_not_overdue(make_client: MakeClient, engine: Engine) -> None:
    with engine.begin() as connection:
        _add_task(connection, HOURLY, "SUCCESS", created_at=now())
    async with make_client(freshness_check_schedule="0 0 1 1 *") as client:
        metrics = await _metrics(client)
    assert metrics.value("watcher_scheduled_check_overdue_seconds", HOURLY) == 0
    # Without a worker it is the worker that is missing.
    assert metrics.value("watcher_scheduled_check_overdue_seconds", "timeliness_check_task") is None


async def test_without_a_broker_the_rest_is_shown(make_client: MakeClient, engine: Engine) -> None:
    with engine.begin() as connection:
        _add_to_outbox(connection, "detect_anomalies_task", 5)
    async with make_client(broker_url="redis://127.0.0.1:1/0") as client:
        metrics = await _metrics(client)
    assert metrics.value("watcher_broker_up") == 0
    assert metrics.value("watcher_database_up") == 1
    assert metrics.value("celery_queue_length", "celery") is None
    assert metrics.value("watcher_queue_ready", "celery") is None
    assert metrics.value("watcher_queue_unacknowledged") is None
    assert metrics.value("watcher_outbox_messages", "detect_anomalies_task") == 5


@pytest.mark.parametrize("broker_answers", [True, False])
async def test_without_a_database_it_says_so(
    make_client: MakeClient, broker: "redis.Redis", broker_answers: bool
) -> None:
    broker.lpush("celery", "message")
    broker_url = {} if broker_answers else {"broker_url": "redis://127.0.0.1:1/0"}
    async with make_client(**broker_url) as client:
        # The database goes away after the api has started: it knows by then that no token is asked for.
        assert (await client.get("/metrics")).status_code == 200
        app = client._transport.app  # type: ignore[attr-defined] # noqa: SLF001 - the only way to the application
        engine, app.state.query_engine = (
            app.state.query_engine,
            create_query_engine(load_settings(database_url="postgresql://nobody@127.0.0.1:1/none")),
        )
        await engine.dispose()
        metrics = await _metrics(client)
    assert metrics.value("watcher_up") == 1
    assert metrics.value("watcher_database_up") == 0
    assert metrics.value("watcher_broker_up") == broker_answers
    assert metrics.value("watcher_queue_ready", "celery") == (1 if broker_answers else None)
    assert metrics.value("celery_active_worker_count", "celery") is None


async def test_prometheus_own_format_is_spoken(client: httpx.AsyncClient) -> None:
    answer = await client.get("/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


async def test_the_ports_of_the_living_workers_are_targets(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        _add_worker(connection, "one@here", metrics_url="http://10.0.0.1:9808")
        _add_worker(connection, "six@here", metrics_url="http://[fd00::1]:9809")
        _add_worker(connection, "without@here")
        _add_worker(connection, "killed@here", metrics_url="http://10.0.0.2:9808", seen_at=ago(minutes=5))
    answer = await client.get("/metrics/targets")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == [
        {"targets": ["10.0.0.1:9808"], "labels": {"__meta_watcher_worker": "one@here"}},
        {"targets": ["[fd00::1]:9809"], "labels": {"__meta_watcher_worker": "six@here"}},
    ]


async def test_with_tokens_a_scraper_needs_one_that_reads(make_client: MakeClient, engine: Engine) -> None:
    with engine.begin() as connection:
        token = create_token(connection, "prometheus", Scope.READ)
    async with make_client() as client:
        for path in ("/metrics", "/metrics/targets"):
            assert (await client.get(path)).status_code == 401
            answer = await client.get(path, headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == 200
