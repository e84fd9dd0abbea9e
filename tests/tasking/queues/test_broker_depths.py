"""What the broker holds is counted, whatever it is."""

import json

import pytest
import redis
from celery import Celery

from watcher_server.kit.errors import UnavailableError
from watcher_server.tasking.queues.broker_depths import BrokerDepths, read_broker_depths

QUEUES = ("celery", "scheduled")


def _read(broker_url: str) -> BrokerDepths:
    return read_broker_depths(broker_url, QUEUES)


def test_every_priority_of_a_queue_counts(publisher: Celery, broker_url: str) -> None:
    for priority in (0, 3, 5, 9):
        publisher.send_task("freshness_check_task", priority=priority)
    publisher.send_task("freshness_check_task", queue="scheduled")

    assert _read(broker_url).ready == {
        ("celery", "freshness_check_task"): 4,
        ("scheduled", "freshness_check_task"): 1,
    }


def test_more_messages_than_are_read_are_counted_as_unknown(
    valkey: "redis.Redis", publisher: Celery, broker_url: str
) -> None:
    publisher.send_task("detect_anomalies_task")
    message = valkey.lindex("celery", 0)
    assert message is not None
    valkey.lpush("celery", *[message] * 4_999)

    assert _read(broker_url).ready == {("celery", "detect_anomalies_task"): 2_000, ("celery", "unknown"): 3_000}


def test_what_is_not_celerys_is_unknown_and_breaks_nothing(valkey: "redis.Redis", broker_url: str) -> None:
    valkey.lpush("celery", b"\xff", b"[]", b"7", b'{"headers": 3}', b"[" * 100_000, b'{"headers": {"task": null}}')
    valkey.lpush("celery", b'{"headers": {"task": "\\ud800"}}', b'{"headers": {"task": {}}}')
    held = [b"\xff", b"{}", b"[]", b"[3]", b'[{"headers": null}]', b'[3, "", "celery"]', b'[{}, "", 7]']
    valkey.hset("unacked", mapping={str(number): entry for number, entry in enumerate(held)})

    depths = _read(broker_url)

    assert depths.ready == {("celery", "unknown"): 8}
    assert depths.unacknowledged_total == 7
    assert depths.unacknowledged == {("celery", "unknown"): 1}
    assert depths.scheduled == {}


def test_what_workers_hold_is_counted_by_queue_and_task(
    valkey: "redis.Redis", publisher: Celery, broker_url: str
) -> None:
    publisher.send_task("freshness_check_task", queue="scheduled")
    with publisher.connection_for_read() as connection, connection.SimpleQueue("scheduled") as queue:
        taken = queue.get(timeout=5)
        held = _read(broker_url)
        taken.ack()

    assert valkey.hlen("unacked") == 0
    assert held.unacknowledged == {("scheduled", "freshness_check_task"): 1}
    assert held.unacknowledged_total == 1
    assert held.ready == {}


def test_messages_that_wait_for_a_moment_of_their_own_are_counted(
    valkey: "redis.Redis", publisher: Celery, broker_url: str
) -> None:
    publisher.send_task("freshness_check_task", countdown=300)
    publisher.send_task("freshness_check_task")
    message = {"headers": {"task": "detect_anomalies_task", "eta": "2999-01-01T00:00:00"}}
    valkey.hset("unacked", "tag", json.dumps([message, "", "celery"]))

    assert _read(broker_url).scheduled == {
        ("celery", "freshness_check_task"): 1,
        ("celery", "detect_anomalies_task"): 1,
    }


def test_a_broker_that_is_away_is_a_domain_error() -> None:
    with pytest.raises(UnavailableError):
        _read("redis+socket:///nowhere/valkey.sock?virtual_host=0")
