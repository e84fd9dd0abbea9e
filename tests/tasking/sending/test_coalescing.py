"""Rebuilds of the same closure that wait together are one; whoever asks about any of them hears of that one."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from celery import Celery
from celery.result import AsyncResult
from sqlalchemy import Engine

from tests.support.calling import messages, watcher_app
from tests.support.rows import now
from tests.support.tasks import add_task, add_waiting, change_task, task_row, waiting_rows
from watcher_server.tasking.sending.publishing import publish

NAME = "address_lineage_closure_rebuild_task"


@pytest.fixture
def send(engine: Engine, database_url: str, publisher: Celery) -> Iterator[Any]:
    """Publish the oldest rebuild, as the relay does; the ids and arguments that arrive in the broker."""
    assert engine is not None

    def publish_one() -> list[tuple[str, dict[str, Any]]]:
        publish(connection, publisher, producer, {NAME: 1})
        return [(message.headers["id"], message.payload[1]) for message in messages(publisher)]

    with (
        psycopg.connect(database_url, autocommit=True) as connection,
        publisher.producer_pool.acquire(block=True) as producer,
    ):
        yield publish_one


def put(engine: Engine, addresses: Any, pipeline: Any = 7, name: str = NAME, **fields: Any) -> str:
    kwargs = {"connected_addresses": addresses, "pipeline_id": pipeline}
    with engine.begin() as connection:
        return add_waiting(connection, name, **{"kwargs": kwargs, **fields})


def rebuild(*addresses: int, pipeline: int = 7) -> dict[str, Any]:
    return {"connected_addresses": list(addresses), "pipeline_id": pipeline}


def left(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return [str(row["task_id"]) for row in waiting_rows(connection)]


def row(engine: Engine, task_id: str) -> dict[str, Any]:
    with engine.connect() as connection:
        return task_row(connection, task_id)


def test_equal_pipelines_join_their_addresses(engine: Engine, send: Any) -> None:
    leader = put(engine, [3, 1])
    put(engine, [2, 3])
    put(engine, [1])

    assert send() == [(leader, rebuild(1, 2, 3))]
    assert left(engine) == []


def test_what_is_run_again_runs_with_all_of_them(engine: Engine, send: Any) -> None:
    leader = put(engine, [1])
    put(engine, [2])

    send()

    assert row(engine, leader)["kwargs"] == rebuild(1, 2)


def test_other_pipelines_wait_for_themselves(engine: Engine, send: Any) -> None:
    first = put(engine, [1])
    other = put(engine, [2], pipeline=8)
    put(engine, [3])

    assert send() == [(first, rebuild(1, 3))]
    assert left(engine) == [other]
    assert send() == [(other, rebuild(2, pipeline=8))]


def test_one_alone_is_sent_as_it_is(engine: Engine, send: Any) -> None:
    alone = put(engine, [2, 1, 2])

    assert send() == [(alone, rebuild(2, 1, 2))]


def test_lists_without_addresses_join_too(engine: Engine, send: Any) -> None:
    leader = put(engine, [])
    put(engine, [])

    assert send() == [(leader, rebuild())]
    assert left(engine) == []


def test_what_is_for_later_is_not_joined(engine: Engine, send: Any) -> None:
    first = put(engine, [1])
    later = put(engine, [2], due_at=now() + timedelta(minutes=1))

    assert send() == [(first, rebuild(1))]
    assert left(engine) == [later]


def test_what_something_follows_is_not_joined(engine: Engine, send: Any) -> None:
    link = {"link": [{"task": "freshness_check_task"}]}
    first = put(engine, [1])
    followed = put(engine, [2], options=link)
    put(engine, [3])

    assert send() == [(first, rebuild(1, 3))]
    put(engine, [4])
    assert send() == [(followed, rebuild(2))]


def test_other_tasks_are_not_joined(engine: Engine, send: Any) -> None:
    first = put(engine, [1])
    other = put(engine, [2], name="some_task")

    assert send() == [(first, rebuild(1))]
    assert left(engine) == [other]


@pytest.mark.parametrize(
    "addresses", ["12", None, {}, [None], ["1"], [[1]], [True], [0], [-1], [2**63], [10**400], [1.5, "x"]]
)
def test_one_that_will_fail_takes_no_other_along(engine: Engine, send: Any, addresses: Any) -> None:
    good = put(engine, [1])
    bad = put(engine, addresses)
    put(engine, [2])

    assert send() == [(good, rebuild(1, 2))]
    put(engine, [3])
    assert send() == [(bad, {"connected_addresses": addresses, "pipeline_id": 7})]


@pytest.mark.parametrize("pipeline", [None, "7", [7], 7.5, -7])
def test_a_pipeline_that_cannot_be_joins_nothing(engine: Engine, send: Any, pipeline: Any) -> None:
    bad = put(engine, [1], pipeline=pipeline)
    put(engine, [2], pipeline=pipeline)

    assert send() == [(bad, {"connected_addresses": [1], "pipeline_id": pipeline})]
    assert len(left(engine)) == 1


def test_one_that_waits_twice_joins_itself_to_nothing(engine: Engine, send: Any) -> None:
    leader, other = put(engine, [1]), put(engine, [2])
    for task, address in ((leader, 1), (other, 2), (other, 2)):
        put(engine, [address], task_id=task)

    assert send() == [(leader, rebuild(1, 2))]
    assert row(engine, leader)["coalesced_into"] is None
    assert send() == [(leader, rebuild(1))]
    assert left(engine) == []


def test_a_retry_that_waits_is_joined(engine: Engine, send: Any) -> None:
    leader = put(engine, [1])
    with engine.begin() as connection:
        retried = add_task(connection, "RETRY", NAME, kwargs=rebuild(2))
    put(engine, [2], task_id=retried, retries=1)

    assert send() == [(leader, rebuild(1, 2))]
    assert str(row(engine, retried)["coalesced_into"]) == leader


def test_one_that_has_succeeded_stays_so(engine: Engine, send: Any) -> None:
    leader = put(engine, [1])
    with engine.begin() as connection:
        done = add_task(connection, "SUCCESS", NAME, kwargs=rebuild(2))
    put(engine, [2], task_id=done)

    send()

    assert row(engine, leader)["kwargs"] == rebuild(1, 2)
    assert row(engine, done)["state"] == "SUCCESS"


def test_more_than_one_statement_takes_wait_for_the_next(engine: Engine, send: Any) -> None:
    leader = put(engine, [1])
    with engine.begin() as connection:
        for address in range(2, 1103):
            add_waiting(connection, NAME, kwargs=rebuild(address))

    ((sent, kwargs),) = send()

    assert (sent, kwargs["connected_addresses"]) == (leader, list(range(1, 1002)))
    assert len(left(engine)) == 101


@pytest.mark.parametrize(
    ("state", "meta", "result"),
    [
        ("PENDING", None, None),
        ("PROGRESS", {"status": "…", "current_step": "…", "progress": 5}, None),
        ("SUCCESS", {"sources": 3}, {"sources": 3}),
        ("FAILURE", {"exc_type": "ValueError", "exc_message": "no", "exc_module": "builtins"}, "no"),
    ],
)
def test_all_of_them_are_in_the_state_of_the_one_that_runs(
    engine: Engine, send: Any, state: str, meta: Any, result: Any
) -> None:
    leader, joined = put(engine, [1]), put(engine, [2])
    send()
    with engine.begin() as connection:
        change_task(connection, leader, state=state, meta=meta)

    answer: AsyncResult[Any] = AsyncResult(joined, app=watcher_app())

    assert answer.state == state
    if result is not None:
        assert str(answer.result) == str(result)


def test_who_follows_a_follower_follows_the_one_that_runs(engine: Engine, send: Any) -> None:
    first, second = put(engine, [1]), put(engine, [2])
    send()
    # The first failed, and is run again while another one waits in front of it.
    with engine.begin() as connection:
        change_task(connection, first, state="FAILURE")
    third = put(engine, [3])
    put(engine, [1, 2], task_id=first)

    assert send() == [(third, rebuild(1, 2, 3))]
    with engine.begin() as connection:
        change_task(connection, third, state="SUCCESS", meta={"sources": 9})

    for task in (first, second):
        assert AsyncResult(task, app=watcher_app()).get(timeout=5) == {"sources": 9}
