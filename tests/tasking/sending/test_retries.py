"""What is tried again, how often, after how long, and what stays the same."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery, Task, chain
from celery.exceptions import Reject
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from tests.conftest import MakeClient, create_database, worker_broker
from tests.support.calling import calls_to, wait_for_state
from tests.support.live import wait_until, watcher_process
from tests.support.tasks import add_waiting, task_row, waiting_rows
from watcher_server import celery_tasks
from watcher_server.celery_tasks import detect_anomalies_task, freshness_check_task, timeliness_check_task
from watcher_server.tasking.sending.broker import redis_client
from watcher_server.tasking.sending.task import retry_delay

SETTINGS = {
    "WATCHER_TASK_RETRY_DELAY_SECONDS": "1",
    "WATCHER_TASK_RETRY_DELAY_CAP_SECONDS": "1",
    "WATCHER_FRESHNESS_CHECK_RATE_LIMIT": "none",
    "WATCHER_TIMELINESS_CHECK_RATE_LIMIT": "none",
    "WATCHER_WORKER_METRICS_PORT": "0",
    "WATCHER_WORKER_STOP_SECONDS": "1",
    # Nobody listens there.
    "WATCHER_SLACK_WEBHOOK_URL": "http://127.0.0.1:1/services/a-secret",
}
# Each check writes here first; whoever cannot get at a table has an error that passes.
_BUSY = """
DROP SEQUENCE IF EXISTS tries;
CREATE SEQUENCE tries;
CREATE OR REPLACE FUNCTION be_busy() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM nextval('tries'); RAISE EXCEPTION 'the table is busy' USING ERRCODE = 'lock_not_available'; END $$;
CREATE OR REPLACE TRIGGER busy BEFORE INSERT ON freshness_pipeline_log EXECUTE FUNCTION be_busy();
"""
ERROR = {"exc_type": "OperationalError", "exc_message": "the table is busy", "max_retries": 3}


@dataclass(frozen=True)
class Site:
    """A worker that retries after a second at most, and where it works."""

    engine: Engine
    database_url: str
    broker: Celery

    def row(self, task_id: str) -> dict[str, Any]:
        with self.engine.connect() as connection:
            return task_row(connection, task_id)

    def execute(self, statement: str) -> Any:
        with self.engine.begin() as connection:
            return connection.execute(text(statement))

    def knows(self, task_id: str, state: str) -> bool:
        with self.engine.connect() as connection:
            known = text("SELECT count(*) = 1 FROM task WHERE id = :id AND state = :state")
            return bool(connection.scalar(known, {"id": task_id, "state": state}))

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Have each freshness check fail with an error that passes."""
        self.execute(_BUSY)
        try:
            yield
        finally:
            self.execute("DROP TRIGGER busy ON freshness_pipeline_log")


@pytest.fixture(scope="module")
def site(worker_id: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    database_url, broker_url = create_database(f"watcher_retries_{worker_id}"), worker_broker(worker_id, 2)
    environment = {**SETTINGS, "WATCHER_DATABASE_URL": database_url, "WATCHER_BROKER_URL": broker_url}
    log: Path = tmp_path_factory.mktemp("retries") / "worker.log"
    with redis_client(broker_url) as client:
        client.flushdb()
    with (
        watcher_process(["worker"], environment, log),
        calls_to(database_url) as engine,
        Celery(broker=broker_url, set_as_current=False) as broker,
    ):
        yield Site(engine, database_url, broker)


@given(
    retries=st.integers(0, 10_000),
    base=st.floats(0.001, 86_400),
    cap=st.floats(0.001, 86_400),
)
def test_the_delay_doubles_up_to_a_cap_and_never_falls_below_half(retries: int, base: float, cap: float) -> None:
    whole = min(cap, base * 2.0 ** min(retries, 100))

    assert whole / 2 <= retry_delay(retries, base, cap) <= whole


def test_delays_are_spread() -> None:
    delays = [retry_delay(0, 60, 600) for _ in range(1000)]

    assert min(delays) < 35
    assert max(delays) > 55
    assert all(30 <= delay <= 60 for delay in delays)


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("detect_anomalies_task", 60),
        ("freshness_check_task", 60),
        ("timeliness_check_task", 60),
        ("address_lineage_closure_rebuild_task", 60),
        ("pipeline_execution_closure_maintain_task", 30),
    ],
)
def test_each_documented_task_has_its_retries(name: str, seconds: int) -> None:
    task = getattr(celery_tasks, name)

    assert (task.max_retries, task.default_retry_delay) == (3, seconds)
    assert {OperationalError, ConnectionError, TimeoutError} <= set(task.autoretry_for)
    assert not {ValueError, TypeError, Exception} & set(task.autoretry_for)


@pytest.mark.usefixtures("engine")
def test_called_here_and_now_it_is_tried_as_often(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def fail(_: object) -> int:
        tries.append(1)
        raise OperationalError("SELECT", None, Exception("the connection is gone"))

    monkeypatch.setattr("watcher_server.freshness.tasks.check_freshness", fail)

    result = celery_tasks.freshness_check_task.apply()

    assert (result.state, len(tries)) == ("FAILURE", 4)


def test_with_everything_away_the_message_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    # It is the only trace of the task.
    def fail(*_: Any, **__: Any) -> None:
        raise OperationalError("SELECT", None, ConnectionError("refused"))

    monkeypatch.setattr("watcher_server.tasking.sending.task.send_through_outbox", fail)
    monkeypatch.setattr(Task, "apply_async", fail)
    delivery = {"exchange": "", "routing_key": "celery"}
    freshness_check_task.push_request(
        id=str(uuid4()), args=[], kwargs={}, called_directly=False, delivery_info=delivery
    )

    try:
        with pytest.raises(Reject) as caught:
            freshness_check_task.retry(exc=OSError("busy"))
    finally:
        freshness_check_task.pop_request()

    (_, requeue) = caught.value.args
    assert requeue is True


async def test_an_error_that_does_not_pass_fails_the_task_after_three_retries(
    site: Site, make_client: MakeClient
) -> None:
    with site.busy():
        result = freshness_check_task.delay()
        wait_for_state(result, "FAILURE")

    async with make_client(database_url=site.database_url) as client:
        task = (await client.get(f"/tasks/{result.id}")).json()
    assert (task["state"], task["meta"]) == ("FAILURE", {**ERROR, "retry_count": 3})
    assert [tried["exc_message"] for tried in task["history"]] == ["the table is busy"] * 4
    assert [tried["retries"] for tried in site.row(result.id)["history"]] == [0, 1, 2, 3]
    assert "LockNotAvailable" in task["traceback"]
    assert "the table is busy" in str(result.result)


def test_while_it_waits_for_its_next_try_it_is_in_the_state_retry(site: Site) -> None:
    with site.busy():
        result = freshness_check_task.delay()
        wait_for_state(result, "RETRY")
        held = f"UPDATE outbox SET due_at = now() + interval '1 hour' WHERE task_id = '{result.id}'"
        # It may just be on its way to another try.
        wait_until(lambda: site.execute(held).rowcount == 1, "its waiting")
        wait_for_state(result, "RETRY")
        with site.engine.connect() as connection:
            (message,) = (row for row in waiting_rows(connection) if str(row["task_id"]) == result.id)
    assert "the table is busy" in str(result.info)
    assert (str(message["task_id"]), message["task_name"]) == (result.id, "freshness_check_task")
    assert message["retries"] >= 1
    assert site.row(result.id)["meta"].items() >= {**ERROR, "retry_count": message["retries"]}.items()

    site.execute(f"UPDATE outbox SET due_at = now() WHERE task_id = '{result.id}'; NOTIFY watcher_outbox")
    wait_for_state(result, "SUCCESS")


def test_a_retry_keeps_its_id_its_queue_and_what_follows(site: Site) -> None:
    with site.busy():
        last = chain(freshness_check_task.si().set(queue="scheduled"), timeliness_check_task.si(lookback_minutes=90))()
        wait_for_state(last.parent, "RETRY")

    wait_for_state(last, "SUCCESS")
    first = site.row(last.parent.id)
    assert (first["state"], first["queue"], len(first["history"])) == ("SUCCESS", "scheduled", first["retries"])
    assert first["retries"] >= 1
    assert site.row(last.id)["kwargs"] == {"lookback_minutes": 90}


def test_an_error_that_never_passes_fails_the_task_at_once(site: Site) -> None:
    result = detect_anomalies_task.delay("seven", "eight")
    wait_for_state(result, "FAILURE")

    row = site.row(result.id)
    assert (row["meta"]["retry_count"], row["meta"]["max_retries"], len(row["history"])) == (0, 3, 1)
    assert "seven" in row["meta"]["exc_message"]
    assert "\n" not in row["meta"]["exc_message"]


def test_failures_of_a_task_are_alerted_once_an_hour(site: Site) -> None:
    results = [detect_anomalies_task.delay("not", "a number") for _ in range(3)]
    for result in results:
        wait_for_state(result, "FAILURE")

    hours = {site.row(result.id)["finished_at"].hour for result in results}
    found = "SELECT dedupe_key, message FROM alert WHERE dedupe_key LIKE 'task-failure:detect%' ORDER BY id"
    alerts = site.execute(found).all()
    # Whether the hour changed in between, or began with a test before this one.
    assert len(hours) <= len(alerts) <= 2
    assert all("Task detect_anomalies_task failed for good: " in alert.message for alert in alerts)


def test_a_task_under_an_id_of_somebodys_own_is_tried_again_no_more_often(site: Site) -> None:
    # Such a task is in no history; a sequence counts its tries, because what it counts is not rolled back.
    with site.busy():
        tries = "SELECT last_value FROM tries"
        site.broker.send_task("freshness_check_task", task_id="tonight")

        wait_until(lambda: site.execute(tries).scalar_one() == 4, "four tries")
        marker = timeliness_check_task.apply_async(countdown=2)
        wait_for_state(marker, "SUCCESS")
    assert site.execute(tries).scalar_one() == 4


def test_a_task_of_a_newer_version_fails_and_the_worker_goes_on(site: Site) -> None:
    with site.engine.begin() as connection:
        unknown = add_waiting(connection, "no_such_task")
    after = timeliness_check_task.delay()

    wait_for_state(after, "SUCCESS")
    wait_until(lambda: site.knows(unknown, "FAILURE"), "the failure of the unknown task")
    assert site.row(unknown)["name"] == "no_such_task"
    assert site.row(unknown)["meta"]["exc_type"] == "NotRegistered"
    assert site.execute("SELECT count(*) FROM worker WHERE stopped_at IS NULL").scalar_one() == 1


def test_a_task_that_failed_for_good_can_be_run_again(site: Site) -> None:
    with site.busy():
        result = freshness_check_task.delay()
        wait_for_state(result, "FAILURE")
    site.execute(
        f"WITH failed AS (UPDATE task SET state = 'PENDING', retries = 0 WHERE id = '{result.id}' RETURNING *)"
        " INSERT INTO outbox (task_id, task_name, kwargs, queue) SELECT id, name, kwargs, queue FROM failed"
    )

    wait_for_state(result, "SUCCESS")
    assert site.row(result.id)["meta"] == {"new_stale_pipelines": 0, "new_warnings": 0}
    assert len(site.row(result.id)["history"]) == 4
