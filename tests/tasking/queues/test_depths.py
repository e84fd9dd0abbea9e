"""How much waits, and how fast it moves."""

import httpx
import pytest
import redis
from celery import Celery
from sqlalchemy import Engine

from tests.conftest import MakeClient
from tests.support.queues import DELIVER, DETECT, FRESHNESS, add_finished, add_published, add_waiting, add_worker
from tests.support.rows import ago, alerts, now
from watcher_server.settings import load_settings
from watcher_server.tasking.limits.service import override_limit
from watcher_server.tasking.queues.depths import QueueState, measure_queues

AWAY = "redis://127.0.0.1:1/0"
DOWN = "The broker does not answer: start it, or correct WATCHER_BROKER_URL."


def _measure(engine: Engine, **settings: object) -> QueueState:
    with engine.begin() as connection:
        return measure_queues(connection, load_settings(**settings))


def _send(publisher: Celery, number: int, task: str = DETECT, queue: str = "celery") -> None:
    with publisher.producer_pool.acquire(block=True) as producer:
        for _ in range(number):
            publisher.send_task(task, kwargs={}, queue=queue, producer=producer)


@pytest.mark.usefixtures("valkey")
def test_with_nothing_to_do_every_number_is_zero_and_nothing_is_old(engine: Engine) -> None:
    state = _measure(engine)

    assert list(state.queues) == ["celery", "scheduled", "alerts"]
    assert (state.tasks, state.failed_tasks, state.workers, state.workers_active) == ({}, {}, {}, 0)
    assert state.broker_error is None
    for load in (state.total, *state.queues.values()):
        assert (load.pending, load.ready, load.unacknowledged, load.scheduled, load.outbox_pending) == (0, 0, 0, 0, 0)
        assert (load.in_per_minute, load.out_per_minute, load.failed_per_minute) == (0, 0, 0)
        assert (load.oldest_seconds, load.seconds_to_drain) == (None, 0.0)


def test_pending_is_what_waits_in_the_broker_and_what_is_due_in_the_outbox(engine: Engine, publisher: Celery) -> None:
    _send(publisher, 3)
    _send(publisher, 1, FRESHNESS, "scheduled")
    with engine.begin() as connection:
        add_waiting(connection, 4)
        add_waiting(connection, 2, DELIVER, queue="scheduled")
        add_waiting(connection, 5, due_at=now().replace(year=2999))

    state = _measure(engine)

    main, scheduled = state.queues["celery"], state.queues["scheduled"]
    assert (main.pending, main.ready, main.outbox_pending, main.scheduled) == (7, 3, 4, 5)
    assert (scheduled.pending, scheduled.ready, scheduled.outbox_pending, scheduled.scheduled) == (3, 1, 2, 0)
    assert (state.total.pending, state.total.scheduled) == (10, 5)
    assert {task: load.pending for task, load in state.tasks.items()} == {DETECT: 7, DELIVER: 2, FRESHNESS: 1}
    assert next(iter(state.tasks)) == DETECT


@pytest.mark.usefixtures("valkey")
def test_the_oldest_has_waited_since_it_was_due_published_or_not(engine: Engine) -> None:
    with engine.begin() as connection:
        add_waiting(connection, created_at=ago(hours=5), due_at=ago(minutes=2), retries=1)
        add_waiting(connection, due_at=now().replace(year=2999))
        add_published(connection, published_at=ago(minutes=3), task=FRESHNESS)
        add_finished(connection, published_at=ago(hours=3))

    state = _measure(engine)

    assert state.tasks[DETECT].oldest_seconds == pytest.approx(120, abs=30)
    assert state.tasks[FRESHNESS].oldest_seconds == pytest.approx(180, abs=30)
    assert state.queues["celery"].oldest_seconds == state.tasks[FRESHNESS].oldest_seconds
    assert state.queues["scheduled"].oldest_seconds is None


@pytest.mark.usefixtures("valkey")
def test_what_is_done_or_was_lost_and_found_does_not_wait(engine: Engine) -> None:
    with engine.begin() as connection:
        add_finished(connection, 3, published_at=ago(hours=3))
        add_published(connection, state="PROGRESS", published_at=ago(hours=3))
        # It waits in the outbox once more.
        add_published(connection, published_at=None, task=FRESHNESS)
        add_waiting(connection, task=FRESHNESS, due_at=ago(seconds=1))

    state = _measure(engine)

    assert state.tasks[DETECT].oldest_seconds is None
    assert state.tasks[FRESHNESS].oldest_seconds == pytest.approx(1, abs=30)


@pytest.mark.usefixtures("valkey")
def test_the_last_minute_tells_what_came_in_went_out_and_failed(engine: Engine) -> None:
    with engine.begin() as connection:
        add_waiting(connection, 2)
        add_waiting(connection, 1, created_at=ago(minutes=2))
        # A retry has not come in once more, and has not gone out.
        add_waiting(connection, 1, retries=1)
        add_published(connection, 1, created_at=now(), state="RETRY")
        add_published(connection, 3, created_at=now())
        add_finished(connection, 4)
        add_finished(connection, 5, finished_at=ago(minutes=2))
        add_finished(connection, 1, state="FAILURE")
        add_finished(connection, 2, state="FAILURE", task=FRESHNESS, queue="scheduled", finished_at=ago(days=1))

    state = _measure(engine)

    for load in (state.tasks[DETECT], state.queues["celery"], state.total):
        assert (load.in_per_minute, load.out_per_minute, load.failed_per_minute) == (6, 5, 1)
    assert state.failed_tasks == {DETECT: 1, FRESHNESS: 2}


@pytest.mark.usefixtures("valkey")
def test_a_limited_task_drains_at_its_limit_once_somebody_works(engine: Engine) -> None:
    with engine.begin() as connection:
        add_waiting(connection, 300)
    assert _measure(engine).queues["celery"].seconds_to_drain is None

    with engine.begin() as connection:
        add_worker(connection)
    state = _measure(engine)
    assert state.tasks[DETECT].seconds_to_drain == 20
    assert state.queues["celery"].seconds_to_drain == state.total.seconds_to_drain == 20
    assert _measure(engine, detect_anomalies_rate_limit="1/s").total.seconds_to_drain == 300

    with engine.begin() as connection:
        override_limit(connection, load_settings(), DETECT, 30.0, 5)
    assert _measure(engine).total.seconds_to_drain == 10


@pytest.mark.usefixtures("valkey")
def test_workers_of_another_queue_drain_nothing(engine: Engine) -> None:
    with engine.begin() as connection:
        add_waiting(connection, 300)
        add_worker(connection, queues=["scheduled"])

    state = _measure(engine)

    assert state.queues["celery"].seconds_to_drain is None
    assert (state.workers_active, state.workers) == (1, {"scheduled": 1})


@pytest.mark.usefixtures("valkey")
def test_a_task_without_a_limit_drains_as_fast_as_it_did_in_the_last_minute(engine: Engine) -> None:
    with engine.begin() as connection:
        add_worker(connection)
        add_waiting(connection, 60, DELIVER, queue="scheduled")
    assert _measure(engine).total.seconds_to_drain is None

    with engine.begin() as connection:
        add_finished(connection, 30, DELIVER, queue="scheduled")
    state = _measure(engine)
    assert state.tasks[DELIVER].seconds_to_drain == state.queues["scheduled"].seconds_to_drain == 120


@pytest.mark.usefixtures("valkey")
def test_workers_that_are_slower_than_the_limit_are_not_flattered(engine: Engine) -> None:
    with engine.begin() as connection:
        add_worker(connection)
        add_waiting(connection, 300, due_at=ago(minutes=5))
        add_finished(connection, 60)

    assert _measure(engine).total.seconds_to_drain == 300


@pytest.mark.usefixtures("valkey")
def test_a_queue_is_drained_when_the_slowest_of_its_tasks_is(engine: Engine) -> None:
    with engine.begin() as connection:
        add_worker(connection)
        add_waiting(connection, 15)
        add_waiting(connection, 7, FRESHNESS)
        add_waiting(connection, 3, DELIVER)
        add_finished(connection, 60, DELIVER)

    assert _measure(engine).queues["celery"].seconds_to_drain == 7


def test_a_queue_that_is_not_watchers_own_is_measured_where_something_waits(engine: Engine, publisher: Celery) -> None:
    _send(publisher, 2, queue="nightly")
    with engine.begin() as connection:
        add_waiting(connection, 1, queue="nightly")

    state = _measure(engine)

    assert state.queues["nightly"].pending == 3
    assert state.total.pending == 3


@pytest.mark.usefixtures("valkey")
def test_without_a_broker_its_numbers_are_missing_and_the_outbox_counts(engine: Engine) -> None:
    with engine.begin() as connection:
        add_waiting(connection, 25)

    state = _measure(engine, broker_url=AWAY)

    assert state.broker_error == DOWN
    for load in (state.total, state.queues["celery"], state.tasks[DETECT]):
        assert (load.ready, load.unacknowledged) == (None, None)
        assert (load.pending, load.outbox_pending) == (25, 25)


async def test_the_report_has_the_fields_of_the_contract(
    client: httpx.AsyncClient, engine: Engine, publisher: Celery
) -> None:
    _send(publisher, 3)
    _send(publisher, 2, FRESHNESS, "scheduled")
    with engine.begin() as connection:
        add_waiting(connection, 1)
        add_worker(connection)

    answer = await client.post("/celery/monitor-queue")

    assert answer.status_code == 200
    report = answer.json()
    contract = {
        "status": "success",
        "total_pending": 6,
        "regular_queue_pending": 4,
        "scheduled_queue_pending": 2,
        "task_breakdown": ["Detect Anomalies Task: 4", "Freshness Check Task: 2"],
        "task_breakdown_raw": {"detect_anomalies_task": 4, "freshness_check_task": 2, "unknown": 0},
    }
    assert {name: report[name] for name in contract} == contract
    assert report["beat_scheduled_tasks"] > 0
    assert (report["outbox_pending"], report["unacknowledged"], report["workers_active"]) == (1, 0, 1)
    assert (report["in_per_minute"], report["out_per_minute"], report["broker_error"]) == (1, 0, None)
    assert report["queues"]["scheduled"]["pending"] == 2
    assert report["queues"]["celery"]["workers_active"] == 1
    assert report["tasks"]["detect_anomalies_task"]["outbox_pending"] == 1


async def test_what_is_counted_without_being_read_is_unknown(client: httpx.AsyncClient, valkey: "redis.Redis") -> None:
    valkey.lpush("celery", b"no message of Celery's")
    report = (await client.get("/queues")).json()
    assert report["task_breakdown"] == ["Unknown: 1"]
    assert report["task_breakdown_raw"] == {"unknown": 1}


async def test_without_a_broker_the_report_says_so_and_alerts_what_waits_for_it(
    make_client: MakeClient, engine: Engine
) -> None:
    with engine.begin() as connection:
        add_waiting(connection, 21)
    async with make_client(broker_url=AWAY) as client:
        answer = await client.post("/celery/monitor-queue")
    assert answer.status_code == 200
    report = answer.json()
    assert (report["broker_error"], report["total_pending"]) == (DOWN, 21)
    assert (report["ready"], report["unacknowledged"]) == (None, None)
    with engine.begin() as connection:
        assert [alert["level"] for alert in alerts(connection)] == ["INFO"]


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/celery/monitor-queue"), ("GET", "/queues"), ("GET", "/workers")]
)
async def test_without_a_database_the_answer_is_503(make_client: MakeClient, method: str, path: str) -> None:
    async with make_client(database_url="postgresql://nobody@127.0.0.1:1/none") as client:
        answer = await client.request(method, path)
    assert answer.status_code == 503


@pytest.mark.usefixtures("valkey")
async def test_looking_at_the_queues_alerts_nobody(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        add_waiting(connection, 500)
    assert (await client.get("/queues")).json()["total_pending"] == 500
    with engine.begin() as connection:
        assert alerts(connection) == []


async def test_the_workers_are_listed_the_living_first(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        add_worker(connection, "celery@died", seen_at=ago(minutes=5))
        add_worker(connection, "celery@lives", active=1, metrics_url="http://127.0.0.1:9808/metrics")
    lives, died = (await client.get("/workers")).json()
    assert (lives["name"], lives["state"], lives["active"]) == ("celery@lives", "alive", 1)
    assert (lives["queues"], lives["processes"]) == (["celery", "scheduled", "alerts"], 2)
    assert (died["name"], died["state"]) == ("celery@died", "died")
