"""What the broker or a worker loses is found and runs again; what merely waits is left alone."""

import json
from typing import Any
from uuid import uuid4

import pytest
import redis
from celery import Celery
from sqlalchemy import Engine, text

from tests.support import queues
from tests.support.rows import ago
from tests.support.tasks import add_task, add_waiting, task_row, waiting_rows
from watcher_server.settings import Settings, load_settings
from watcher_server.tasking.keeper.recovery import Recovery
from watcher_server.tasking.sending.configuration import visibility_timeout_seconds

NAME = "some_task"


@pytest.fixture
def settings(database_url: str, broker_url: str) -> Settings:
    return load_settings(database_url=database_url, broker_url=broker_url, lost_task_after_seconds=30)


@pytest.fixture
def look(engine: Engine, valkey: "redis.Redis", settings: Settings) -> Any:
    """Look twice, as it takes to believe that a message is missing; how many were put back."""
    assert valkey.ping()

    def look_twice(settings: Settings = settings) -> int:
        recovery = Recovery(settings)
        with engine.begin() as connection:
            first = recovery.return_lost(connection)
        with engine.begin() as connection:
            return first + recovery.return_lost(connection)

    return look_twice


def put(engine: Engine, state: str = "PENDING", **fields: Any) -> str:
    with engine.begin() as connection:
        return add_task(connection, state, NAME, **{"published_at": ago(seconds=60), **fields})


def working(engine: Engine, **fields: Any) -> Any:
    """A worker that runs a task, unless the fields say otherwise; its id."""
    with engine.begin() as connection:
        return queues.add_worker(connection, **{"active": 1, **fields})


def row(engine: Engine, task_id: str) -> dict[str, Any]:
    with engine.connect() as connection:
        return task_row(connection, task_id)


def waiting(engine: Engine) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        return waiting_rows(connection)


def returned(engine: Engine) -> set[str]:
    return {str(message["task_id"]) for message in waiting(engine)}


def send(publisher: Celery, task_id: str, queue: str = "celery", **options: Any) -> None:
    publisher.send_task(NAME, task_id=task_id, queue=queue, **options)


# What was published and is in no queue.


def test_a_message_that_the_broker_lost_is_sent_again_as_it_was(engine: Engine, look: Any) -> None:
    facts: dict[str, Any] = {
        "kwargs": {"pipeline_id": 7, "text": "ä%s:x"},
        "queue": "scheduled",
        "retries": 2,
        "options": {"link": [{"task": "next"}]},
        "context": {"request_id": "abc"},
        "created_at": ago(minutes=5),
    }
    task = put(engine, **facts)

    assert look() == 1

    (message,) = waiting(engine)
    assert (str(message["task_id"]), message["task_name"]) == (task, NAME)
    assert {name: message[name] for name in facts} == facts
    assert message["due_at"] <= ago()
    assert (row(engine, task)["state"], row(engine, task)["published_at"]) == ("PENDING", None)
    assert look() == 0, "it was put back twice"


def test_one_look_is_not_enough(engine: Engine, valkey: "redis.Redis", settings: Settings) -> None:
    task = put(engine)
    recovery = Recovery(settings)

    with engine.begin() as connection:
        assert recovery.return_lost(connection) == 0
        # It was on its way from the broker to a worker.
        connection.execute(text("UPDATE task SET state = 'PROGRESS'"))
    with engine.begin() as connection:
        assert recovery.return_lost(connection) == 0
    assert row(engine, task)["state"] == "PROGRESS"
    assert valkey.ping()


def test_what_was_published_just_now_is_on_its_way(engine: Engine, look: Any) -> None:
    put(engine, published_at=ago(seconds=10))

    assert look() == 0


def test_how_long_is_a_setting(engine: Engine, look: Any, settings: Settings) -> None:
    put(engine, published_at=ago(seconds=10))

    assert look(settings.model_copy(update={"lost_task_after_seconds": 5})) == 1


def test_a_task_that_waits_behind_others_is_not_lost(engine: Engine, look: Any, publisher: Celery) -> None:
    # Nobody has worked for an hour; the oldest message says so.
    tasks = [put(engine, published_at=ago(minutes=60 - number)) for number in range(3)]
    for task in tasks:
        send(publisher, task)

    assert look() == 0


def test_a_task_older_than_all_that_waits_is(engine: Engine, look: Any, publisher: Celery) -> None:
    lost = put(engine, published_at=ago(minutes=10))
    send(publisher, put(engine, published_at=ago(minutes=9)))
    put(engine, published_at=ago(minutes=8))

    assert look() == 1
    assert returned(engine) == {lost}


def test_messages_of_a_priority_count(engine: Engine, look: Any, publisher: Celery) -> None:
    put(engine, published_at=ago(minutes=10))
    send(publisher, put(engine, published_at=ago(minutes=9)))
    send(publisher, put(engine, published_at=ago(minutes=11)), priority=6)

    assert look() == 0


def test_each_queue_is_looked_at_by_itself(engine: Engine, look: Any, publisher: Celery) -> None:
    send(publisher, put(engine, published_at=ago(minutes=10)))
    lost = {put(engine, queue="scheduled"), put(engine, queue="my-own")}
    send(publisher, put(engine, queue="nobody-serves-it"), "nobody-serves-it")

    assert look() == 2
    assert returned(engine) == lost


@pytest.mark.parametrize("message", [b"{}", b"no json", b"[]", json.dumps({"headers": {"id": "tonight"}}).encode()])
def test_behind_a_message_of_another_program_nothing_is_known(
    engine: Engine, look: Any, valkey: "redis.Redis", message: bytes
) -> None:
    put(engine)
    valkey.rpush("celery", message)

    assert look() == 0
    valkey.delete("celery")
    assert look() == 1


def test_behind_a_task_that_the_history_does_not_know_neither(engine: Engine, look: Any, publisher: Celery) -> None:
    put(engine)
    send(publisher, str(uuid4()))

    assert look() == 0


def test_a_key_that_is_no_queue_stops_nothing(engine: Engine, look: Any, valkey: "redis.Redis") -> None:
    put(engine)
    orphan = put(engine, "PROGRESS", worker_id=uuid4(), started_at=ago(minutes=5))
    valkey.set("celery", "something else")

    assert look() == 1
    assert returned(engine) == {orphan}


def test_while_the_broker_is_away_nothing_is_missing(engine: Engine, look: Any, settings: Settings) -> None:
    put(engine)
    orphan = put(engine, "PROGRESS", worker_id=uuid4(), started_at=ago(minutes=5))

    assert look(load_settings(database_url=settings.database, broker_url="redis://127.0.0.1:1/0")) == 1
    assert returned(engine) == {orphan}


def test_what_waits_in_the_outbox_is_not_lost(engine: Engine, look: Any) -> None:
    task = put(engine, published_at=None, created_at=ago(days=3))
    with engine.begin() as connection:
        add_waiting(connection, NAME, task_id=task)

    assert look() == 0


def test_an_emptied_broker_loses_nothing(engine: Engine, look: Any) -> None:
    with engine.begin() as connection:
        queues.add_published(connection, 1500, NAME, published_at=ago(minutes=1))

    assert (look(), look()) == (1000, 500)
    assert len(returned(engine)) == 1500


# What ran on a worker that is gone.


@pytest.mark.parametrize(
    "worker",
    [
        {"seen_at": ago(seconds=40)},
        {"seen_at": ago(seconds=40), "stopped_at": ago(seconds=40)},
        {"seen_at": ago(seconds=1), "stopped_at": ago(seconds=40)},
    ],
)
def test_a_task_of_a_dead_worker_runs_again_and_says_why(engine: Engine, look: Any, worker: dict[str, Any]) -> None:
    task = put(engine, "PROGRESS", worker_id=working(engine, **worker), retries=1)

    assert look() == 1

    back = row(engine, task)
    assert (back["state"], back["worker_id"], back["retries"], back["deaths"]) == ("PENDING", None, 1, 1)
    assert [(tried["exc_type"], tried["retries"]) for tried in back["history"]] == [("WorkerLostError", 1)]
    assert returned(engine) == {task}


def test_a_task_of_a_living_worker_is_left_to_it(engine: Engine, look: Any) -> None:
    put(engine, "PROGRESS", worker_id=working(engine), started_at=ago(minutes=5))
    put(engine, "PROGRESS", worker_id=working(engine, seen_at=ago(seconds=20)), started_at=ago(minutes=5))

    assert look() == 0


def test_a_task_whose_worker_has_been_idle_since_has_ended_unseen(engine: Engine, look: Any) -> None:
    idle = working(engine, active=0)
    ended = put(engine, "PROGRESS", worker_id=idle, started_at=ago(seconds=40))
    put(engine, "PROGRESS", worker_id=idle, started_at=ago(seconds=10))
    put(engine, "PROGRESS", worker_id=working(engine, active=0, seen_at=ago(seconds=15)), started_at=ago(seconds=40))

    assert look() == 1
    assert returned(engine) == {ended}


def test_a_worker_that_is_not_known_was_seen_when_it_began_the_task(engine: Engine, look: Any) -> None:
    old = put(engine, "PROGRESS", worker_id=uuid4(), started_at=ago(seconds=40))
    put(engine, "PROGRESS", worker_id=uuid4(), started_at=ago(seconds=10))

    assert look() == 1
    assert returned(engine) == {old}


@pytest.mark.parametrize("state", ["SUCCESS", "FAILURE", "REVOKED", "COALESCED"])
def test_what_has_ended_is_left_alone(engine: Engine, look: Any, state: str) -> None:
    put(engine, state, worker_id=working(engine, seen_at=ago(days=1)), published_at=ago(days=1), started_at=ago(days=1))

    assert look() == 0


# What has run for longer than anything can, and what was never heard of again.


def test_a_task_that_runs_for_longer_than_any_can_runs_again(engine: Engine, look: Any, settings: Settings) -> None:
    longest = settings.task_time_limit_seconds + visibility_timeout_seconds(settings)
    for worker in (None, working(engine)):
        put(engine, "PROGRESS", worker_id=worker, started_at=ago(seconds=longest - 60))
    late = {
        put(engine, "PROGRESS", worker_id=worker, started_at=ago(seconds=longest + 60))
        for worker in (None, working(engine))
    }

    assert look() == 2
    assert returned(engine) == late


def test_a_retry_that_only_the_broker_knew_and_lost_runs_again(engine: Engine, look: Any, settings: Settings) -> None:
    longest = settings.task_time_limit_seconds + visibility_timeout_seconds(settings)
    put(engine, "RETRY", started_at=ago(seconds=longest - 60))
    stored = put(engine, "RETRY", started_at=ago(seconds=longest + 60))
    with engine.begin() as connection:
        add_waiting(connection, NAME, task_id=stored)
    lost = put(engine, "RETRY", started_at=ago(seconds=longest + 60), retries=2)

    assert look() == 1
    assert returned(engine) == {lost, stored}
    assert row(engine, lost)["deaths"] == 0


def test_relays_are_told_of_what_is_put_back(engine: Engine, look: Any) -> None:
    put(engine)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        raw: Any = connection.connection.driver_connection
        connection.execute(text("LISTEN watcher_outbox"))
        look()
        assert [notice.channel for notice in raw.notifies(timeout=5, stop_after=1)] == ["watcher_outbox"]
