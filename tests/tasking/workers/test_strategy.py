"""Messages of programs that know Watcher's tasks only by name: paced, run, and in the history like all others."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import redis
from celery import Celery, chain
from celery.result import AsyncResult
from sqlalchemy import Engine, text

from tests.support.calling import calls_to, wait_for_state, watcher_app
from tests.support.live import LiveServer, wait_until
from tests.support.tasks import task_row, waiting_rows
from watcher_server.tasking.sending.broker import redis_client

CLOSURE = "pipeline_execution_closure_maintain_task"
# No execution has this id.
NOBODY = 2**40


@pytest.fixture
def engine_of_live(live: LiveServer) -> Iterator[Engine]:
    with calls_to(live.database_url) as engine:
        yield engine


@pytest.fixture
def program(live: LiveServer) -> Iterator[Celery]:
    """Another program, which knows the broker and nothing else."""
    with Celery("elsewhere", broker=live.broker_url, set_as_current=False) as app:
        yield app


@pytest.fixture
def valkey_of_live(live: LiveServer) -> Iterator["redis.Redis"]:
    with redis_client(live.broker_url) as client:
        yield client


def row(engine: Engine, task_id: str) -> dict[str, Any]:
    with engine.connect() as connection:
        return task_row(connection, task_id)


def ended(task_id: str, state: str = "SUCCESS") -> None:
    wait_for_state(watcher_app().AsyncResult(task_id), state)


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [([], {"execution_id": NOBODY, "parent_id": 2}), ([NOBODY, 2], {}), ([NOBODY], {"parent_id": 2})],
)
def test_a_message_by_name_is_run_and_kept(
    engine_of_live: Engine, program: Celery, args: list[int], kwargs: dict[str, int]
) -> None:
    sent = program.send_task(CLOSURE, args=args, kwargs=kwargs)

    ended(sent.id)
    kept = row(engine_of_live, sent.id)
    assert (kept["name"], kept["kwargs"], kept["queue"]) == (
        CLOSURE,
        {"execution_id": NOBODY, "parent_id": 2},
        "celery",
    )
    assert kept["pipeline_execution_id"] == NOBODY
    assert kept["meta"] == {"rows_written": 0, "skipped": "no such execution"}


def test_one_of_a_task_without_a_limit_is_too(engine_of_live: Engine, program: Celery) -> None:
    sent = program.send_task("deliver_alert_task", args=[2**40])

    ended(sent.id)
    assert row(engine_of_live, sent.id)["kwargs"] == {"alert_id": 2**40}


def test_a_message_stays_in_its_queue(engine_of_live: Engine, program: Celery) -> None:
    sent = program.send_task(CLOSURE, args=[1], queue="scheduled")

    ended(sent.id)
    assert row(engine_of_live, sent.id)["queue"] == "scheduled"


def test_a_heap_of_messages_is_paced(engine_of_live: Engine, program: Celery) -> None:
    with engine_of_live.begin() as connection:
        limited = "INSERT INTO rate_limit_override VALUES (:name, 4, now() + interval '1 minute')"
        connection.execute(text(limited), {"name": CLOSURE})
    sent = [program.send_task(CLOSURE, args=[number + 1]).id for number in range(12)]
    for task_id in sent:
        ended(task_id)

    with engine_of_live.begin() as connection:
        connection.execute(text("DELETE FROM rate_limit_override"))
    published = sorted(row(engine_of_live, task_id)["published_at"] for task_id in sent)
    # Twelve at four a second take more than two and a half; at once, nothing.
    assert published[-1] - published[0] > timedelta(seconds=1)
    assert [row(engine_of_live, task_id)["retries"] for task_id in sent] == [0] * 12


def test_a_message_for_later_waits_in_the_outbox_and_in_no_worker(engine_of_live: Engine, program: Celery) -> None:
    eta = datetime.now(UTC) + timedelta(hours=1)
    sent = program.send_task(CLOSURE, args=[1], eta=eta, retries=2)

    def waiting() -> list[dict[str, Any]]:
        with engine_of_live.connect() as connection:
            return [row for row in waiting_rows(connection) if str(row["task_id"]) == sent.id]

    wait_until(lambda: bool(waiting()), "the message being put off")
    (message,) = waiting()
    assert (message["due_at"], message["retries"]) == (eta, 2)
    with engine_of_live.begin() as connection:
        connection.execute(text("UPDATE outbox SET due_at = now(); NOTIFY watcher_outbox"))
    ended(sent.id)


def test_what_follows_a_message_follows(engine_of_live: Engine, program: Celery) -> None:
    first = program.signature(CLOSURE, kwargs={"execution_id": 1}, immutable=True)
    second = program.signature("timeliness_check_task", kwargs={"lookback_minutes": 90}, immutable=True)

    sent = chain(first, second, app=program).apply_async()

    ended(sent.id)
    assert isinstance(sent.parent, AsyncResult)
    ended(sent.parent.id)
    assert row(engine_of_live, sent.id)["kwargs"] == {"lookback_minutes": 90}


def test_a_message_that_came_twice_is_one_task(engine_of_live: Engine, program: Celery) -> None:
    task_id = str(uuid4())
    for _ in range(2):
        program.send_task(CLOSURE, args=[1], task_id=task_id)

    ended(task_id)
    after = program.send_task(CLOSURE, args=[2])
    ended(after.id)
    assert row(engine_of_live, task_id)["history"] == []


@pytest.mark.parametrize(
    ("args", "kwargs", "why"),
    [([], {}, "missing"), ([1, 2, 3], {}, "positional"), ([], {"execution": 1}, "unexpected")],
)
def test_wrong_arguments_fail_and_say_so(
    engine_of_live: Engine, program: Celery, args: list[int], kwargs: dict[str, int], why: str
) -> None:
    sent = program.send_task(CLOSURE, args=args, kwargs=kwargs)

    ended(sent.id, "FAILURE")
    meta = row(engine_of_live, sent.id)["meta"]
    assert (meta["exc_type"], meta["retry_count"]) == ("TypeError", 0)
    assert why in meta["exc_message"]


def test_whatever_comes_the_worker_goes_on(
    live: LiveServer, engine_of_live: Engine, program: Celery, valkey_of_live: "redis.Redis"
) -> None:
    program.send_task(CLOSURE, args=["nul\0"])
    program.send_task(CLOSURE, args=["half \ud800"])
    program.send_task(CLOSURE, args=[10**400])
    program.send_task(CLOSURE, args=[[[[[[[]]]]]]])
    program.send_task(CLOSURE, args=[1], task_id="tonight")
    program.send_task(CLOSURE, args=[1], retries=99_999)
    program.send_task(CLOSURE, args=[1], headers={"watcher_due": "soon", "watcher_context": ["x"]})
    program.send_task(CLOSURE, args=[1], headers={"eta": "soon"})
    program.send_task("no_such_task", args=[1])
    program.conf.task_protocol = 1
    program.send_task(CLOSURE, args=[1], task_id=str(uuid4()))
    program.conf.task_protocol = 2
    after = program.send_task(CLOSURE, args=[1])

    ended(after.id)
    wait_until(lambda: valkey_of_live.llen("celery") == 0, "the queue emptying")
    with engine_of_live.connect() as connection:
        alive = "SELECT count(*) FROM worker WHERE stopped_at IS NULL AND seen_at > now() - interval '10 seconds'"
        assert connection.scalar(text(alive)) == 1
    assert "Unrecoverable" not in (live.logs / "worker.log").read_text(errors="replace")
    assert json.loads(json.dumps(row(engine_of_live, after.id)["kwargs"])) == {"execution_id": 1}
