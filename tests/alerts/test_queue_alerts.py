"""When too much waits in a queue, people are told, once per change of level."""

import httpx
import pytest
from celery import Celery
from sqlalchemy import Connection, Engine, delete

from tests.support.queues import DETECT, add_waiting, add_worker
from tests.support.rows import ago, alerts
from watcher_server.incidents.queues import check_queues, raise_queue_alert
from watcher_server.incidents.tasks import celery_queue_health_check_task
from watcher_server.settings import Settings, load_settings
from watcher_server.tasking.models import OutboxMessage
from watcher_server.tasking.queues.depths import measure_queues
from watcher_server.tasking.queues.levels import QueueLevel, find_level_changes, level_of

AWAY = "redis://127.0.0.1:1/0"

pytestmark = pytest.mark.usefixtures("valkey")


@pytest.mark.parametrize(
    ("pending", "level"), [(19, None), (20, "INFO"), (49, "INFO"), (50, "WARNING"), (99, "WARNING"), (100, "CRITICAL")]
)
def test_levels_begin_at_their_thresholds(pending: int, level: str | None) -> None:
    assert level_of(pending, None, load_settings()) == level


@pytest.mark.parametrize(
    ("before", "pending", "level"),
    [
        ("CRITICAL", 80, "CRITICAL"),
        ("CRITICAL", 79, "WARNING"),
        ("CRITICAL", 40, "WARNING"),
        ("CRITICAL", 39, "INFO"),
        ("CRITICAL", 16, "INFO"),
        ("CRITICAL", 15, None),
        ("WARNING", 40, "WARNING"),
        ("WARNING", 39, "INFO"),
        ("WARNING", 99, "WARNING"),
        ("INFO", 16, "INFO"),
        ("INFO", 15, None),
        ("INFO", 49, "INFO"),
    ],
)
def test_a_level_is_left_downwards_below_four_fifths_of_its_threshold(
    before: str, pending: int, level: str | None
) -> None:
    assert level_of(pending, QueueLevel(before), load_settings()) == level


def test_the_thresholds_are_settings() -> None:
    settings = load_settings(queue_alert_info=2, queue_alert_warning=3, queue_alert_critical=4)

    levels = [level_of(pending, None, settings) for pending in (1, 2, 3, 4)]

    assert levels == [None, "INFO", "WARNING", "CRITICAL"]


def _check(engine: Engine, pending: int, scheduled: int = 0, settings: Settings | None = None) -> int:
    """Look at the queues when so much waits in them."""
    with engine.begin() as connection:
        connection.execute(delete(OutboxMessage))
        for queue, number in (("celery", pending), ("scheduled", scheduled)):
            if number:
                add_waiting(connection, number, queue=queue)
        return check_queues(connection, settings or load_settings())


def _levels(engine: Engine) -> list[str]:
    with engine.begin() as connection:
        return [alert["level"] for alert in alerts(connection)]


def _two_workers(connection: Connection) -> None:
    add_worker(connection, "celery@one")
    add_worker(connection, "celery@two")


def test_the_alert_reads_as_specified(engine: Engine) -> None:
    with engine.begin() as connection:
        _two_workers(connection)
    _check(engine, 2367)

    with engine.begin() as connection:
        (alert,) = alerts(connection)
    assert (alert["level"], alert["title"]) == ("CRITICAL", "Celery Queue Alert")
    assert alert["message"] == "Queue has 2367 pending tasks"
    assert alert["details"][:4] == [
        ["Messages in queue", "2367"],
        ["Scheduled tasks", "0"],
        ["Workers active", "2"],
        ["Queue", "celery"],
    ]
    assert alert["details"][4:] == [
        ["In per minute", "2367"],
        ["Out per minute", "0"],
        ["Oldest waits for", "0s"],
        ["Time to drain", "2m 38s"],
    ]


def test_what_is_not_known_is_left_out(engine: Engine) -> None:
    _check(engine, 30)
    _check(engine, 0)

    with engine.begin() as connection:
        alerted, resolved = alerts(connection)
    assert [label for label, _ in alerted["details"][4:]] == ["In per minute", "Out per minute", "Oldest waits for"]
    assert [label for label, _ in resolved["details"][4:]] == ["In per minute", "Out per minute"]
    assert (resolved["level"], resolved["message"]) == ("RESOLVED", "Queue has 0 pending tasks")


def test_one_alert_per_change_of_level(engine: Engine) -> None:
    for pending in (5, 20, 30, 49, 50, 99, 100, 5_000, 60, 3, 0, 25):
        _check(engine, pending)

    assert _levels(engine) == ["INFO", "WARNING", "CRITICAL", "WARNING", "RESOLVED", "INFO"]


def test_a_queue_that_hovers_around_a_threshold_alerts_once(engine: Engine) -> None:
    for pending in (19, 20, 19, 21, 16, 20, 18):
        _check(engine, pending)

    assert _levels(engine) == ["INFO"]


def test_each_queue_has_a_level_and_workers_of_its_own(engine: Engine) -> None:
    with engine.begin() as connection:
        add_worker(connection, queues=["scheduled"])

    assert _check(engine, 120, scheduled=25) == 2
    assert _check(engine, 120, scheduled=0) == 1

    with engine.begin() as connection:
        found = [(alert["level"], alert["details"][3][1], alert["details"][2][1]) for alert in alerts(connection)]
    assert found == [("CRITICAL", "celery", "0"), ("INFO", "scheduled", "1"), ("RESOLVED", "scheduled", "1")]


def test_a_backlog_behind_a_dead_broker_is_alerted(engine: Engine) -> None:
    assert _check(engine, 60, settings=load_settings(broker_url=AWAY)) == 1

    with engine.begin() as connection:
        (alert,) = alerts(connection)
    assert (alert["level"], alert["message"]) == ("WARNING", "Queue has 60 pending tasks")
    assert alert["details"][-1] == [
        "Broker",
        "The broker does not answer: start it, or correct WATCHER_BROKER_URL.",
    ]


def test_while_the_broker_is_away_nothing_is_resolved(engine: Engine) -> None:
    away = load_settings(broker_url=AWAY)
    _check(engine, 60)

    assert _check(engine, 0, settings=away) == 0
    assert _check(engine, 120, settings=away) == 1
    assert _check(engine, 70, settings=away) == 0
    assert _check(engine, 0) == 1

    assert _levels(engine) == ["WARNING", "CRITICAL", "RESOLVED"]


def test_what_is_for_later_is_not_pending(engine: Engine) -> None:
    with engine.begin() as connection:
        add_waiting(connection, 500, due_at=ago(days=-1))
        assert check_queues(connection, load_settings()) == 0


def test_a_queue_that_is_gone_is_resolved(engine: Engine) -> None:
    with engine.begin() as connection:
        add_waiting(connection, 30, queue="nightly")
        check_queues(connection, load_settings())
    _check(engine, 0)

    assert _levels(engine) == ["INFO", "RESOLVED"]


def test_of_two_checks_at_once_one_alerts(engine: Engine) -> None:
    with engine.begin() as connection:
        add_waiting(connection, 30)
        state = measure_queues(connection, load_settings())
        (change,) = find_level_changes(connection, state, load_settings())
    raised = []
    for _ in range(2):
        with engine.begin() as connection:
            raised.append(raise_queue_alert(connection, change, state))

    assert raised == [True, False]


async def test_the_request_and_the_scheduled_check_raise_the_same_alert_once(
    client: httpx.AsyncClient, engine: Engine, publisher: Celery
) -> None:
    for _ in range(21):
        publisher.send_task(DETECT)

    first = celery_queue_health_check_task()
    await client.post("/celery/monitor-queue")

    assert first == {"alerts": 1}
    with engine.begin() as connection:
        assert [alert["message"] for alert in alerts(connection)] == ["Queue has 21 pending tasks"]
