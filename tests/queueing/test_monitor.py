"""How much waits, and who is told."""

import time
from collections.abc import Iterator

import httpx
import pytest
import redis
from celery import Celery
from sqlalchemy import Engine

from tests.conftest import MakeClient
from tests.support.rows import alerts
from watcher_server.kit.errors import UnavailableError
from watcher_server.queueing import monitor
from watcher_server.queueing.broker import redis_client
from watcher_server.queueing.configuration import broker_configuration
from watcher_server.queueing.monitor import QueueDepths
from watcher_server.queueing.tasks import celery_queue_health_check_task
from watcher_server.settings import get_settings, load_settings


@pytest.fixture
def broker(broker_url: str) -> Iterator["redis.Redis"]:
    with redis_client(broker_url) as client:
        client.flushdb()
        yield client
        client.flushdb()


@pytest.fixture
def publisher(broker: "redis.Redis") -> Iterator[Celery]:
    assert broker.ping()
    with Celery("tests", set_as_current=False) as app:
        app.conf.update(broker_configuration(get_settings()))
        yield app


def _send(publisher: Celery, number: int, task: str = "detect_anomalies_task", queue: str = "celery") -> None:
    with publisher.producer_pool.acquire(block=True) as producer:
        for _ in range(number):
            publisher.send_task(task, kwargs={}, queue=queue, producer=producer)


async def test_the_report_has_the_fields_of_the_contract(client: httpx.AsyncClient, publisher: Celery) -> None:
    _send(publisher, 3)
    _send(publisher, 2, "freshness_check_task", "scheduled")

    answer = await client.post("/celery/monitor-queue")

    assert answer.status_code == 200
    assert answer.json() == {
        "status": "success",
        "total_pending": 5,
        "regular_queue_pending": 3,
        "scheduled_queue_pending": 2,
        "beat_scheduled_tasks": 4,
        "task_breakdown": ["Detect Anomalies Task: 3", "Freshness Check Task: 2"],
        "task_breakdown_raw": {"detect_anomalies_task": 3, "freshness_check_task": 2, "unknown": 0},
    }


def test_every_priority_of_a_queue_counts(publisher: Celery, broker_url: str) -> None:
    for priority in (0, 3, 5, 9):
        publisher.send_task("freshness_check_task", priority=priority)
    assert monitor.read_queue_depths(broker_url).ready == {"celery": 4, "scheduled": 0}


def test_more_messages_than_are_read_are_counted_as_unknown(
    broker: "redis.Redis", publisher: Celery, broker_url: str
) -> None:
    _send(publisher, 1)
    message = broker.lindex("celery", 0)
    assert message is not None
    broker.lpush("celery", *[message] * 4_999)

    began = time.monotonic()
    depths = monitor.read_queue_depths(broker_url)

    assert time.monotonic() - began < 1
    assert depths.total == 5_000
    assert depths.tasks == {"detect_anomalies_task": 2_000, "unknown": 3_000}


def test_what_is_not_celerys_is_unknown_and_breaks_nothing(broker: "redis.Redis", broker_url: str) -> None:
    broker.lpush("celery", b"\xff", b"[]", b"7", b'{"headers": 3}', b"[" * 100_000, b'{"headers": {"task": null}}')
    broker.hset("unacked", mapping={"a": b"\xff", "b": b"{}", "c": b"[]", "d": b"[3]", "e": b'[{"headers": null}]'})

    depths = monitor.read_queue_depths(broker_url)

    assert (depths.total, depths.tasks, depths.reserved, depths.timed) == (6, {"unknown": 6}, 5, 0)


def test_messages_that_wait_for_a_time_of_their_own_are_counted(publisher: Celery, broker_url: str) -> None:
    publisher.send_task("freshness_check_task", countdown=300)
    publisher.send_task("freshness_check_task")
    assert monitor.read_queue_depths(broker_url).timed == 1


async def test_without_a_broker_the_answer_is_503_and_quick(make_client: MakeClient) -> None:
    async with make_client(broker_url="redis://127.0.0.1:1/0") as client:
        began = time.monotonic()
        answer = await client.post("/celery/monitor-queue")
    assert answer.status_code == 503
    assert answer.json() == {"detail": "The broker does not answer: start it, or correct WATCHER_BROKER_URL."}
    assert time.monotonic() - began < 3


def test_a_broker_that_is_away_is_a_domain_error() -> None:
    with pytest.raises(UnavailableError):
        monitor.read_queue_depths("redis+socket:///nowhere/valkey.sock?virtual_host=0")


@pytest.mark.parametrize(
    ("pending", "level"), [(19, None), (20, "INFO"), (49, "INFO"), (50, "WARNING"), (99, "WARNING"), (100, "CRITICAL")]
)
def test_levels_begin_at_their_thresholds(pending: int, level: str | None) -> None:
    assert monitor.level_of(pending, load_settings()) == level


def test_the_thresholds_are_settings() -> None:
    settings = load_settings(queue_alert_info=2, queue_alert_warning=3, queue_alert_critical=4)

    assert [monitor.level_of(pending, settings) for pending in (1, 2, 3, 4)] == [None, "INFO", "WARNING", "CRITICAL"]


def _check(engine: Engine, pending: int, scheduled: int = 0) -> int:
    depths = QueueDepths(ready={"celery": pending, "scheduled": scheduled}, tasks={}, reserved=0, timed=0)
    with engine.begin() as connection:
        changes = monitor.find_level_changes(connection, depths, get_settings())
        return monitor.raise_queue_alerts(connection, changes, active_workers=2)


def test_the_alert_reads_as_specified(engine: Engine) -> None:
    _check(engine, 2367)
    with engine.begin() as connection:
        (alert,) = alerts(connection)
    assert (alert["level"], alert["title"]) == ("CRITICAL", "Celery Queue Alert")
    assert alert["message"] == "Queue has 2367 pending tasks"
    assert alert["details"] == [
        ["Messages in queue", "2367"],
        ["Scheduled tasks", "0"],
        ["Workers active", "2"],
        ["Queue", "celery"],
    ]


def test_one_alert_per_change_of_level(engine: Engine) -> None:
    for pending in (5, 20, 30, 49, 50, 99, 100, 5_000, 60, 3, 0, 25):
        _check(engine, pending)
    with engine.begin() as connection:
        levels = [alert["level"] for alert in alerts(connection)]
    assert levels == ["INFO", "WARNING", "CRITICAL", "WARNING", "RESOLVED", "INFO"]


def test_each_queue_has_a_level_of_its_own(engine: Engine) -> None:
    assert _check(engine, 120, scheduled=25) == 2
    assert _check(engine, 120, scheduled=0) == 1
    with engine.begin() as connection:
        found = [(alert["level"], alert["details"][3][1]) for alert in alerts(connection)]
    assert found == [("CRITICAL", "celery"), ("INFO", "scheduled"), ("RESOLVED", "scheduled")]


def test_of_two_checks_at_once_one_alerts(engine: Engine) -> None:
    depths = QueueDepths(ready={"celery": 30}, tasks={}, reserved=0, timed=0)
    with engine.begin() as connection:
        seen_by_both = monitor.find_level_changes(connection, depths, get_settings())
    raised = []
    for _ in range(2):
        with engine.begin() as connection:
            raised.append(monitor.raise_queue_alerts(connection, seen_by_both, active_workers=0))
    assert raised == [1, 0]


async def test_the_request_and_the_scheduled_check_raise_the_same_alert_once(
    client: httpx.AsyncClient, engine: Engine, publisher: Celery
) -> None:
    _send(publisher, 21)

    first = celery_queue_health_check_task()
    await client.post("/celery/monitor-queue")

    assert first == {"pending": 21, "alerts": 1}
    with engine.begin() as connection:
        assert [alert["message"] for alert in alerts(connection)] == ["Queue has 21 pending tasks"]
