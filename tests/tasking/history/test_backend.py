"""The result backend: what Celery says of a task is what the history keeps, whatever there is to say."""

import logging
import threading
from datetime import datetime
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from billiard.einfo import ExceptionInfo
from celery import states
from celery.app.task import Context
from celery.exceptions import Ignore, NotRegistered, Retry
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import OperationalError

from tests.support.calling import watcher_app
from tests.support.live import wait_until
from tests.support.rows import ago, alerts
from tests.support.tasks import PROGRESS, add_task, add_waiting, add_worker, change_task, task_row, waiting_rows
from watcher_server.celery_tasks import freshness_check_task
from watcher_server.tasking.history.backend import PoisonedTaskError, TaskBackend

AWAY = create_engine("postgresql+psycopg://127.0.0.1:1/none", connect_args={"connect_timeout": 1})
NAME = "detect_anomalies_task"


@pytest.fixture
def backend(engine: Engine) -> TaskBackend:
    assert engine is not None
    backend = watcher_app().backend
    assert isinstance(backend, TaskBackend)
    return backend


def request(task_id: str, **fields: Any) -> Context:
    kwargs = {"pipeline_id": 1, "pipeline_execution_id": 2}
    return Context({"id": task_id, "task": NAME, "args": [], "kwargs": kwargs, "retries": 0, **fields})


def put(engine: Engine, state: str = "PENDING", **fields: Any) -> str:
    with engine.begin() as connection:
        return add_task(connection, state, **fields)


def row(engine: Engine, task_id: str) -> dict[str, Any]:
    with engine.connect() as connection:
        return task_row(connection, task_id)


def is_known(engine: Engine, task_id: str) -> bool:
    with engine.connect() as connection:
        return bool(connection.scalar(text("SELECT count(*) FROM task WHERE id = :id"), {"id": task_id}))


def test_a_try_begins_with_its_first_progress(engine: Engine, backend: TaskBackend) -> None:
    task = put(engine, retries=1)

    assert backend.begin(request(task, retries=2), PROGRESS)

    began = row(engine, task)
    assert (began["state"], began["meta"], began["retries"], began["history"]) == ("PROGRESS", PROGRESS, 2, [])
    assert began["started_at"] > began["published_at"]


def test_a_task_that_was_under_way_lost_its_process(engine: Engine, backend: TaskBackend) -> None:
    task = put(engine, "PROGRESS", retries=1)

    assert backend.begin(request(task), PROGRESS)

    assert [(tried["exc_type"], tried["retries"]) for tried in row(engine, task)["history"]] == [("WorkerLostError", 1)]


def test_a_next_try_whose_predecessor_was_not_written_down_is_no_death(engine: Engine, backend: TaskBackend) -> None:
    # It failed while the database was away, and went on by way of the broker.
    task = put(engine, "PROGRESS", retries=1)

    assert backend.begin(request(task, retries=2), PROGRESS)

    assert (row(engine, task)["history"], row(engine, task)["deaths"]) == ([], 0)


def test_a_task_whose_process_dies_again_and_again_is_given_up(engine: Engine, backend: TaskBackend) -> None:
    task = put(engine, "PROGRESS")
    for _ in range(4):
        assert backend.begin(request(task), PROGRESS)

    with pytest.raises(PoisonedTaskError, match="died 5 times"):
        backend.begin(request(task), PROGRESS)


def test_a_task_that_has_succeeded_does_not_begin(engine: Engine, backend: TaskBackend) -> None:
    task = put(engine, "SUCCESS", meta={"anomalies_found": 2})

    assert not backend.begin(request(task), PROGRESS)
    assert row(engine, task)["meta"] == {"anomalies_found": 2}


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"args": [1, 2], "kwargs": {}},
        {"args": (1,), "kwargs": {"pipeline_execution_id": 2}},
        {"delivery_info": {"routing_key": "scheduled"}},
        {"retries": 2},
    ],
)
def test_a_task_that_did_not_come_through_the_outbox_is_kept_by_its_names(
    engine: Engine, backend: TaskBackend, sent: dict[str, Any]
) -> None:
    task = str(uuid4())

    assert backend.begin(request(task, **sent), PROGRESS)

    kept = row(engine, task)
    assert (kept["name"], kept["state"], kept["retries"]) == (NAME, "PROGRESS", sent.get("retries", 0))
    assert kept["kwargs"] == {"pipeline_id": 1, "pipeline_execution_id": 2}
    assert (kept["pipeline_id"], kept["pipeline_execution_id"]) == (1, 2)
    assert kept["queue"] == sent.get("delivery_info", {}).get("routing_key", "celery")


@pytest.mark.parametrize(
    "sent",
    [
        {"args": [1, 2, 3, 4], "kwargs": {}},
        {"args": None, "kwargs": None},
        {"kwargs": {"who": "knows"}, "task": "unknown_task"},
        {"retries": 99_999},
        {"retries": "many"},
        {"delivery_info": None, "task": "x" * 300},
        {"delivery_info": {"routing_key": "q" * 300}},
    ],
)
def test_whatever_another_program_sends_begins_and_ends(
    engine: Engine, backend: TaskBackend, sent: dict[str, Any]
) -> None:
    task = str(uuid4())
    context = request(task, **sent)

    assert backend.begin(context, PROGRESS)
    backend.mark_as_done(task, {"rows": 1}, context)

    assert (row(engine, task)["state"], row(engine, task)["meta"]) == ("SUCCESS", {"rows": 1})


def test_what_postgresql_does_not_hold_is_run_and_not_kept(
    engine: Engine, backend: TaskBackend, caplog: pytest.LogCaptureFixture
) -> None:
    task = str(uuid4())
    context = request(task, kwargs={"pipeline_id": "nul\0"})

    assert backend.begin(context, PROGRESS)
    backend.mark_as_done(task, {}, context)
    backend.mark_as_failure(task, ValueError("no"), request=context)

    assert not is_known(engine, task)
    assert {record.levelno for record in caplog.records} == {logging.ERROR}


def test_an_id_that_is_no_uuid_is_run_and_not_kept(engine: Engine, backend: TaskBackend) -> None:
    context = request("tonight")

    assert backend.begin(context, PROGRESS)
    backend.mark_as_done("tonight", {}, context)
    backend.mark_as_failure("tonight", ValueError("no"), request=context)
    backend.store_result("tonight", PROGRESS, "PROGRESS", request=context)

    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM task")) == 0


def test_a_message_faster_than_the_transaction_that_sent_it_waits_for_it(engine: Engine, backend: TaskBackend) -> None:
    began: list[bool] = []
    with engine.connect() as relay:
        task = add_task(relay, "PENDING", kwargs={"from": "relay"})
        worker = threading.Thread(target=lambda: began.append(backend.begin(request(task), PROGRESS)))
        worker.start()
        waiting = text("SELECT count(*) FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0")
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            wait_until(lambda: connection.scalar(waiting) == 1, "the worker waiting")
        assert began == []
        relay.commit()
        worker.join()

    assert began == [True]
    assert (row(engine, task)["state"], row(engine, task)["kwargs"]) == ("PROGRESS", {"from": "relay"})


@pytest.mark.parametrize("state", ["PENDING", "PROGRESS", "RETRY", "FAILURE", "REVOKED"])
def test_an_end_is_stored(engine: Engine, backend: TaskBackend, state: str) -> None:
    task = put(engine, state)

    backend.mark_as_done(task, {"anomalies_found": 0}, request(task, retries=1))

    done = row(engine, task)
    assert (done["state"], done["meta"], done["retries"]) == ("SUCCESS", {"anomalies_found": 0}, 1)
    assert done["finished_at"]


def test_nothing_changes_a_success(engine: Engine, backend: TaskBackend) -> None:
    task = put(engine, "SUCCESS", meta={"anomalies_found": 2})
    before = row(engine, task)
    context = request(task)

    backend.store_result(task, PROGRESS, "PROGRESS", request=context)
    backend.mark_as_retry(task, OSError("busy"), "Traceback", context)
    backend.mark_as_failure(task, OSError("busy"), "Traceback", context)
    backend.mark_as_revoked(task, "expired", context)
    backend.mark_as_done(task, {"anomalies_found": 9}, context)

    assert row(engine, task) == before


@pytest.fixture
def as_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this process be a worker."""
    monkeypatch.setattr("watcher_server.tasking.workers.service._worker_id", uuid4())


# Where a task is that was taken away: with another worker, or on its way to one.
_ELSEWHERE = [{"state": "PROGRESS", "worker_id": uuid4()}, {"state": "PENDING", "published_at": None}]


@pytest.mark.usefixtures("as_a_worker")
@pytest.mark.parametrize("elsewhere", _ELSEWHERE, ids=["at another worker", "in the outbox"])
def test_a_worker_that_was_taken_for_dead_says_nothing_of_the_try_of_another(
    engine: Engine, backend: TaskBackend, elsewhere: dict[str, Any]
) -> None:
    task = put(engine, **elsewhere)
    before, context = row(engine, task), request(task)

    backend.store_result(task, PROGRESS, "PROGRESS", request=context)
    backend.mark_as_retry(task, OSError("connection lost"), "Traceback", context)
    backend.mark_as_failure(task, TimeoutError("too long"), request=context)
    backend.mark_as_revoked(task, "terminated", context)

    assert row(engine, task) == before
    with engine.connect() as connection:
        assert alerts(connection) == []


@pytest.mark.usefixtures("as_a_worker")
@pytest.mark.parametrize("elsewhere", _ELSEWHERE, ids=["at another worker", "in the outbox"])
def test_a_worker_that_was_taken_for_dead_asks_for_no_next_try(
    engine: Engine, backend: TaskBackend, elsewhere: dict[str, Any]
) -> None:
    assert backend
    task = put(engine, **elsewhere)
    freshness_check_task.push_request(id=task, args=[], kwargs={}, called_directly=False)

    try:
        with pytest.raises(Ignore):
            freshness_check_task.retry(exc=OSError("connection lost"))
    finally:
        freshness_check_task.pop_request()

    with engine.connect() as connection:
        assert waiting_rows(connection) == []


@pytest.mark.usefixtures("as_a_worker")
@pytest.mark.parametrize("elsewhere", _ELSEWHERE, ids=["at another worker", "in the outbox"])
def test_what_a_worker_that_was_taken_for_dead_has_done_is_done(
    engine: Engine, backend: TaskBackend, elsewhere: dict[str, Any]
) -> None:
    task = put(engine, **elsewhere)

    backend.mark_as_done(task, {"anomalies_found": 2}, request(task))

    assert (row(engine, task)["state"], row(engine, task)["meta"]) == ("SUCCESS", {"anomalies_found": 2})


@pytest.mark.usefixtures("as_a_worker")
def test_a_failure_before_the_begin_could_be_written_is_kept(engine: Engine, backend: TaskBackend) -> None:
    # The database was away when the try began.
    task = put(engine)

    backend.mark_as_failure(task, ValueError("no"), request=request(task))

    assert row(engine, task)["state"] == "FAILURE"


def test_each_failed_try_is_one_entry_of_the_history(engine: Engine, backend: TaskBackend) -> None:
    task = put(engine)
    for retries in range(3):
        backend.begin(request(task, retries=retries), PROGRESS)
        backend.mark_as_retry(task, ConnectionError(f"try {retries}"), "Traceback …", request(task, retries=retries))
        waits = row(engine, task)
        assert (waits["state"], waits["meta"]["retry_count"], waits["retries"]) == ("RETRY", retries + 1, retries + 1)
        assert waits["finished_at"] is None
    backend.begin(request(task, retries=3), PROGRESS)
    backend.mark_as_failure(task, ConnectionError("try 3"), "Traceback …", request(task, retries=3))

    failed = row(engine, task)
    assert failed["meta"] == {
        "exc_type": "ConnectionError",
        "exc_message": "try 3",
        "exc_module": "builtins",
        "retry_count": 3,
        "max_retries": 3,
    }
    assert [tried["exc_message"] for tried in failed["history"]] == ["try 0", "try 1", "try 2", "try 3"]
    assert all(datetime.fromisoformat(tried["at"]) > ago(minutes=1) for tried in failed["history"])
    assert failed["finished_at"]


def test_a_failure_that_is_told_twice_is_one_entry(engine: Engine, backend: TaskBackend) -> None:
    # The worker tells of a task over its time limit, and once more of the process that it killed for that.
    task = put(engine, "PROGRESS")
    for _ in range(2):
        backend.mark_as_failure(task, TimeoutError("too long"), request=request(task))

    assert len(row(engine, task)["history"]) == 1
    with engine.connect() as connection:
        assert len(alerts(connection)) == 1


@pytest.mark.parametrize(
    "message", ["nul \0 here", "half \ud800 a character", "\x1b[31mred", "ä\n\tß", "x" * 100_000, "", "%s :x {}"]
)
def test_an_error_may_say_anything(engine: Engine, backend: TaskBackend, message: str) -> None:
    task = put(engine, "PROGRESS")

    def fail() -> None:
        raise ValueError(message)

    try:
        fail()
    except ValueError as error:
        backend.mark_as_failure(task, error, ExceptionInfo().traceback, request(task))

    stored = row(engine, task)
    expected = message.replace("\0", " ").replace("\ud800", "?").strip()[:4000] or "ValueError"
    assert (stored["state"], stored["meta"]["exc_message"].strip()) == ("FAILURE", expected.strip())
    assert "ValueError" in stored["traceback"]
    assert isinstance(watcher_app().AsyncResult(task).result, ValueError)


def test_an_error_of_the_database_is_one_line_without_the_statement(engine: Engine, backend: TaskBackend) -> None:
    task = put(engine, "PROGRESS")
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT 'a secret'::int"))
    except Exception as error:  # noqa: BLE001 - whatever SQLAlchemy makes of it
        backend.mark_as_failure(task, error, request=request(task))

    assert row(engine, task)["meta"]["exc_message"] == 'invalid input syntax for type integer: "a secret"'


class TwoArgumentsError(Exception):
    """An error that cannot be made of its message alone."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one, two)


@pytest.mark.parametrize("error", [TwoArgumentsError("a", "b"), type("LocalError", (Exception,), {})("gone")])
def test_an_error_that_cannot_be_made_again_is_still_an_error(
    engine: Engine, backend: TaskBackend, error: Exception
) -> None:
    task = put(engine, "PROGRESS")
    backend.mark_as_failure(task, error, request=request(task))

    result = watcher_app().AsyncResult(task)
    assert isinstance(result.result, Exception)
    assert result.state == "FAILURE"


@pytest.mark.parametrize("error", [None, SystemExit(3), Retry("later")])
def test_a_task_that_asks_for_another_try_without_an_error_waits_for_it(
    engine: Engine, backend: TaskBackend, error: Any
) -> None:
    task = put(engine, "PROGRESS")

    backend.mark_as_retry(task, error, "", request(task))

    assert row(engine, task)["state"] == "RETRY"
    assert row(engine, task)["meta"]["retry_count"] == 1
    assert isinstance(watcher_app().AsyncResult(task).result, BaseException)


def test_what_celery_tells_of_a_task_that_the_worker_does_not_know_is_enough(
    engine: Engine, backend: TaskBackend
) -> None:
    published, foreign = put(engine, name="gone_task"), str(uuid4())
    for task in (published, foreign):
        told = SimpleNamespace(
            name="gone_task", chord=None, root_id=None, correlation_id=task, reply_to=None, errbacks=None
        )
        backend.mark_as_failure(task, NotRegistered("gone_task"), request=told)

    for task in (published, foreign):
        failed = row(engine, task)
        assert (failed["name"], failed["state"], failed["meta"]["exc_type"]) == (
            "gone_task",
            "FAILURE",
            "NotRegistered",
        )


def test_a_failure_for_good_is_alerted_once_an_hour_per_task(engine: Engine, backend: TaskBackend) -> None:
    for _ in range(3):
        task = put(engine, "PROGRESS")
        backend.mark_as_retry(task, OSError("busy"), "", request(task))
        backend.mark_as_failure(task, OSError("nul \0 gone"), request=request(task, retries=3))
    other = put(engine, "PROGRESS", name="freshness_check_task")
    backend.mark_as_failure(other, OSError("gone"), request=request(other, task="freshness_check_task"))
    quiet = put(engine, "PROGRESS", name="deliver_alert_task")
    backend.mark_as_failure(quiet, OSError("gone"), request=request(quiet, task="deliver_alert_task"))

    with engine.connect() as connection:
        found = alerts(connection)
    assert {alert["message"] for alert in found} == {
        "Task detect_anomalies_task failed for good: OSError: nul   gone",
        "Task freshness_check_task failed for good: OSError: gone",
    }
    # The hour may have changed in between.
    assert len(found) <= 3
    assert "3 of 3" in found[0]["text"]
    assert found[0]["level"] == "ERROR"


def test_a_coalesced_task_says_what_the_one_says_that_did_its_work(engine: Engine, backend: TaskBackend) -> None:
    with engine.begin() as connection:
        leader = add_task(connection, "PROGRESS", worker_id=add_worker(connection, "celery@two"))
        joined = add_task(connection, "COALESCED", coalesced_into=leader)
    assert backend.get_task_meta(joined)["status"] == "PROGRESS"
    assert watcher_app().AsyncResult(joined).worker == "celery@two"

    with engine.begin() as connection:
        change_task(connection, leader, state="SUCCESS", meta={"sources": 3})
    assert watcher_app().AsyncResult(joined).get(timeout=5) == {"sources": 3}


def test_what_waits_in_the_outbox_is_pending(engine: Engine, backend: TaskBackend) -> None:
    with engine.begin() as connection:
        task = add_waiting(connection)

    assert backend.get_task_meta(task) == {"status": states.PENDING, "result": None}


def test_while_the_database_is_away_tasks_go_on(
    backend: TaskBackend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("watcher_server.tasking.history.backend.sync_engine", lambda: AWAY)
    monkeypatch.setattr("watcher_server.database.engine.sync_engine", lambda: AWAY)
    task = str(uuid4())

    assert backend.begin(request(task), PROGRESS)
    backend.store_result(task, PROGRESS, "PROGRESS", request=request(task))
    backend.mark_as_retry(task, OSError("busy"), "", request(task))
    backend.mark_as_failure(task, OSError("busy"), request=request(task))
    backend.mark_as_done(task, {}, request(task))

    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 5
    with pytest.raises(OperationalError):
        backend.get_task_meta(task)
