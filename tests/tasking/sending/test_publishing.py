"""One batch from the outbox to the broker: what is found, what is sent, and what a bad message does to the others."""

import logging
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from celery import Celery
from sqlalchemy import Engine, text

from tests.support import queues
from tests.support.calling import messages
from tests.support.rows import ago, now
from tests.support.tasks import add_task, add_waiting, change_task, task_row, waiting_rows
from watcher_server.tasking.sending.publishing import BATCH, MOST_IN_FLIGHT, Due, find_due, publish

NAME = "some_task"

# What no call through ``.delay()`` writes, and an administrator's SQL may.
UNREADABLE = {
    "a list": "'[1]'",
    "a number": "'1'",
    "nesting": "('{\"a\":' || repeat('[', 3000) || repeat(']', 3000) || '}')::jsonb",
    "digits": "('{\"a\":' || repeat('9', 5000) || '}')::jsonb",
}
HOSTILE: list[dict[str, Any]] = [
    {},
    {"number": 10**300, "small": -(10**18), "fraction": 1e-300},
    {"pipeline_id": "1; DROP TABLE task", "pipeline_execution_id": {"a": [None]}},
    {"pipeline_id": 1.5, "execution_id": True},
    {"pipeline_id": 99999999999999999999},
    {"": "", "self": 1, "task_id": "x", "args": [1], "ünï": "'\"\\%s %(name)s :x {}"},
    {"deep": [[[[[[[[[[{"x": [{}]}]]]]]]]]]]},
    {"long": "x" * 200_000},
]


@pytest.fixture
def connection(engine: Engine, database_url: str) -> Iterator["psycopg.Connection[Any]"]:
    assert engine is not None
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def send(connection: "psycopg.Connection[Any]", publisher: Celery) -> Iterator[Any]:
    """Publish so many of each task; how many were sent."""
    with publisher.producer_pool.acquire(block=True) as producer:
        yield lambda **allowed: publish(connection, publisher, producer, allowed)


def put(engine: Engine, number: int = 1, **fields: Any) -> list[str]:
    with engine.begin() as connection:
        return [add_waiting(connection, NAME, **fields) for _ in range(number)]


def ids(app: Celery, queue: str = "celery") -> list[str]:
    return [message.headers["id"] for message in messages(app, queue)]


def row(engine: Engine, task_id: str) -> dict[str, Any]:
    with engine.connect() as connection:
        return task_row(connection, task_id)


def left(engine: Engine) -> int:
    with engine.connect() as connection:
        return len(waiting_rows(connection))


def test_a_message_says_all_that_the_row_says(engine: Engine, send: Any, publisher: Celery) -> None:
    due_at = ago(seconds=5)
    (task,) = put(
        engine,
        kwargs={"pipeline_id": 1, "execution_id": 2},
        retries=2,
        due_at=due_at,
        context={"request_id": "abc"},
        options={"link": [{"task": "next"}], "expires": (now() + timedelta(hours=1)).isoformat(), "time_limit": 60},
    )

    assert send(some_task=5) == {NAME: 1}

    (message,) = messages(publisher)
    args, kwargs, embedded = message.payload
    assert (args, kwargs, embedded["callbacks"]) == ([], {"pipeline_id": 1, "execution_id": 2}, [{"task": "next"}])
    assert (message.headers["task"], message.headers["id"], message.headers["retries"]) == (NAME, task, 2)
    assert message.headers["timelimit"] == [60, None]
    assert message.headers["expires"]
    assert message.headers["watcher_context"] == {"request_id": "abc"}
    assert message.headers["watcher_due"] == pytest.approx(due_at.timestamp())


def test_what_was_sent_is_in_the_history(engine: Engine, send: Any) -> None:
    (task,) = put(engine, kwargs={"pipeline_id": 1, "execution_id": 2}, created_at=ago(minutes=1), queue="scheduled")

    send(some_task=1)

    published = row(engine, task)
    assert (published["name"], published["state"], published["queue"]) == (NAME, "PENDING", "scheduled")
    assert (published["pipeline_id"], published["pipeline_execution_id"]) == (1, 2)
    assert published["created_at"] < published["published_at"]
    assert left(engine) == 0


def test_the_oldest_go_first_and_no_more_than_allowed(engine: Engine, send: Any, publisher: Celery) -> None:
    young, old, middle = (put(engine, due_at=ago(minutes=minutes))[0] for minutes in (1, 3, 2))

    assert send(some_task=2) == {NAME: 2}
    assert ids(publisher) == [old, middle]
    assert send(some_task=2) == {NAME: 1}
    assert ids(publisher) == [young]
    assert send(some_task=2, other_task=2) == {NAME: 0, "other_task": 0}


def test_what_is_for_later_stays(engine: Engine, send: Any, publisher: Celery) -> None:
    put(engine, due_at=now() + timedelta(seconds=30))

    assert send(some_task=5) == {NAME: 0}
    assert ids(publisher) == []
    assert left(engine) == 1


def test_what_waits_is_counted_by_name(engine: Engine, connection: "psycopg.Connection[Any]") -> None:
    put(engine, 3)
    put(engine, due_at=now() + timedelta(seconds=60))
    put(engine, due_at=now() + timedelta(seconds=30))
    with engine.begin() as rows:
        queues.add_waiting(rows, BATCH + 50, "many_task")
        queues.add_waiting(rows, 1, "later_task", due_at=now() + timedelta(seconds=30))
        queues.add_published(rows, 2, NAME)
        queues.add_published(rows, MOST_IN_FLIGHT + 5, "many_task")

    later, many, some = find_due(connection)

    assert (many.name, many.due, many.next_seconds, many.in_flight) == ("many_task", BATCH + 1, None, MOST_IN_FLIGHT)
    assert (later.name, later.due, some.name, some.due, some.in_flight) == ("later_task", 0, NAME, 3, 2)
    assert 0 < (some.next_seconds or 0) <= 30


def test_with_nothing_to_do_nothing_is_found(connection: "psycopg.Connection[Any]") -> None:
    assert find_due(connection) == []


def test_what_lies_in_a_queue_that_nobody_serves_keeps_no_other_back(
    engine: Engine, connection: "psycopg.Connection[Any]"
) -> None:
    put(engine)
    with engine.begin() as rows:
        queues.add_published(rows, 4, NAME, queue="misspelt")
        queues.add_published(rows, 1, NAME)

    assert [due.in_flight for due in find_due(connection)] == [5]
    with engine.begin() as rows:
        queues.add_worker(rows, seen_at=ago(minutes=5), queues=["misspelt"])
        queues.add_worker(rows)
    assert find_due(connection) == [Due(NAME, 1, None, 1)]


def test_a_task_that_has_succeeded_is_not_sent_again(engine: Engine, send: Any, publisher: Celery) -> None:
    (task,) = put(engine)
    with engine.begin() as rows:
        add_task(rows, "SUCCESS", NAME, id=task, meta={"rows": 1})

    send(some_task=1)

    assert ids(publisher) == []
    assert (row(engine, task)["state"], row(engine, task)["meta"]) == ("SUCCESS", {"rows": 1})
    assert left(engine) == 0


@pytest.mark.parametrize("state", ["PENDING", "PROGRESS", "RETRY", "FAILURE", "REVOKED", "COALESCED"])
def test_a_task_in_any_other_state_is(engine: Engine, send: Any, publisher: Celery, state: str) -> None:
    (task,) = put(engine, retries=1, kwargs={"a": 2})
    with engine.begin() as rows:
        leader = add_task(rows, "FAILURE", NAME)
        add_task(rows, state, NAME, id=task, kwargs={"a": 1}, history=[{"exc_type": "OSError"}])
        if state == "COALESCED":
            change_task(rows, task, coalesced_into=leader)

    send(some_task=1)

    assert ids(publisher) == [task]
    sent = row(engine, task)
    assert (sent["state"], sent["retries"], sent["kwargs"], sent["finished_at"]) == ("PENDING", 1, {"a": 2}, None)
    assert sent["history"] == [{"exc_type": "OSError"}]
    assert sent["coalesced_into"] is None


def test_a_task_that_waits_twice_is_sent_once(engine: Engine, send: Any, publisher: Celery) -> None:
    # Its process died between its retry and its end, and the keeper sent it as well.
    (task,) = put(engine)
    with engine.begin() as rows:
        add_waiting(rows, NAME, task_id=task, retries=1)
    (other,) = put(engine)

    send(some_task=5)

    assert sorted(ids(publisher)) == sorted([task, other])
    assert left(engine) == 0


@pytest.mark.parametrize("kwargs", HOSTILE)
def test_arguments_of_every_kind_are_sent_as_they_are(
    engine: Engine, send: Any, publisher: Celery, kwargs: dict[str, Any]
) -> None:
    (task,) = put(engine, kwargs=kwargs)

    send(some_task=1)

    (message,) = messages(publisher)
    assert message.payload[1] == kwargs
    assert row(engine, task)["kwargs"] == kwargs
    # Only what can be the id of a pipeline is taken for one.
    assert row(engine, task)["pipeline_id"] is None


@pytest.mark.parametrize("kwargs", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_row_that_cannot_be_read_fails_alone(engine: Engine, send: Any, publisher: Celery, kwargs: str) -> None:
    with engine.begin() as rows:
        statement = f"INSERT INTO outbox (task_name, kwargs) SELECT '{NAME}', {kwargs} RETURNING task_id"
        task = str(rows.scalar(text(statement)))
    (other,) = put(engine)

    assert send(some_task=5) == {NAME: 2}

    assert ids(publisher) == [other]
    assert left(engine) == 0
    with engine.connect() as rows:
        columns = "state, meta ->> 'exc_message', finished_at IS NOT NULL, jsonb_array_length(history)"
        found = rows.execute(text(f"SELECT {columns} FROM task WHERE id = '{task}'")).one()
    assert (found[0], bool(found[1]), found[2], found[3]) == ("FAILURE", True, True, 1)


@pytest.mark.parametrize(
    "options", [{"expires": "tomorrow"}, {"expires": {}}, {"queue": "twice"}, {"unheard": object.__name__}, {"link": 1}]
)
def test_options_that_celery_does_not_take_stop_nothing(
    engine: Engine, send: Any, publisher: Celery, options: Any, caplog: pytest.LogCaptureFixture
) -> None:
    (task,) = put(engine, options=options)
    (other,) = put(engine)

    with caplog.at_level(logging.ERROR):
        send(some_task=5)

    sent = ids(publisher)
    assert other in sent
    assert (task in sent) != (row(engine, task)["state"] == "FAILURE")
    assert (task in sent) != (task in caplog.text)
    assert left(engine) == 0
