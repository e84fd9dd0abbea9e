"""What becomes of ``task.delay(…)``: a row of the outbox, and with the database away a message in the broker."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import pytest
from celery import Celery, chain, group
from celery.result import AsyncResult
from kombu import Queue
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import OperationalError

from tests.support.calling import calls_to, messages, wait_for_state, watcher_app
from tests.support.live import LiveServer
from tests.support.tasks import waiting_rows
from watcher_server.celery_tasks import (
    address_lineage_closure_rebuild_task,
    detect_anomalies_task,
    freshness_check_task,
    timeliness_check_task,
)

AWAY = create_engine("postgresql+psycopg://127.0.0.1:1/none", connect_args={"connect_timeout": 1})


@pytest.fixture(autouse=True)
def app(engine: Engine, valkey: Any) -> Celery:
    assert engine is not None
    assert valkey.ping()
    return watcher_app()


@pytest.fixture
def database_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("watcher_server.tasking.sending.calls.sync_engine", lambda: AWAY)


def stored(engine: Engine) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        return waiting_rows(connection)


def only(engine: Engine) -> dict[str, Any]:
    (row,) = stored(engine)
    return row


def test_a_call_is_a_row_that_names_its_arguments(engine: Engine) -> None:
    result = detect_anomalies_task.delay(1, pipeline_execution_id=123)

    row = only(engine)
    assert (row["task_name"], row["kwargs"]) == (
        "detect_anomalies_task",
        {"pipeline_id": 1, "pipeline_execution_id": 123},
    )
    assert (str(row["task_id"]), row["queue"], row["retries"], row["options"]) == (result.id, "celery", 0, None)
    assert row["due_at"] == row["created_at"]
    assert result.state == "PENDING"


def test_arguments_that_were_not_given_are_left_to_the_task(engine: Engine) -> None:
    timeliness_check_task.delay()

    assert only(engine)["kwargs"] == {}


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), ((1,), {}), ((1, 2, 3), {}), ((1, 2), {"pipeline_id": 1}), ((), {"pipeline": 1, "execution": 2})],
)
def test_wrong_arguments_are_an_error_of_the_caller(engine: Engine, args: Any, kwargs: Any) -> None:
    with pytest.raises(TypeError, match="argument"):
        detect_anomalies_task.delay(*args, **kwargs)

    assert stored(engine) == []


@pytest.mark.parametrize(
    "value", ["nul\0", "half a character \ud800", float("nan"), float("inf"), {1, 2}, datetime.now(UTC), object()]
)
def test_arguments_that_are_no_json_are_an_error_of_the_caller(engine: Engine, value: Any) -> None:
    with pytest.raises(TypeError, match="JSON"):
        detect_anomalies_task.delay(1, value)

    assert stored(engine) == []


def test_large_and_nested_arguments_are_stored_as_they_are(engine: Engine) -> None:
    value = {"deep": [[[[{"ä": 10**40, "list": list(range(1000))}]]]], "none": None, "text": "'\"\\%s:x"}

    detect_anomalies_task.delay(value, 10**18)

    assert only(engine)["kwargs"] == {"pipeline_id": value, "pipeline_execution_id": 10**18}


def test_a_countdown_is_counted_by_the_clock_of_the_database(engine: Engine) -> None:
    freshness_check_task.apply_async(countdown=90)

    row = only(engine)
    assert row["due_at"] - row["created_at"] == timedelta(seconds=90)


@pytest.mark.parametrize(
    "eta",
    [
        datetime(2030, 1, 1, 12, tzinfo=UTC),
        datetime(2030, 1, 1, 14, tzinfo=timezone(timedelta(hours=2))),
        datetime(2030, 1, 1, 12),  # noqa: DTZ001 - what a caller without time zones sends
        "2030-01-01T12:00:00",
        "2030-01-01T12:00:00Z",
    ],
)
def test_an_eta_is_when_it_is_due(engine: Engine, eta: Any) -> None:
    freshness_check_task.apply_async(eta=eta)

    assert only(engine)["due_at"] == datetime(2030, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "options", [{"queue": "scheduled"}, {"queue": Queue("scheduled")}, {"routing_key": "scheduled"}]
)
def test_a_call_goes_to_the_queue_that_it_names(engine: Engine, options: Any) -> None:
    freshness_check_task.apply_async(**options)

    assert only(engine)["queue"] == "scheduled"


def test_an_id_of_the_callers_is_kept(engine: Engine) -> None:
    mine = uuid4()

    assert freshness_check_task.apply_async(task_id=str(mine)).id == str(mine)
    assert only(engine)["task_id"] == mine


def test_what_follows_a_task_is_kept_with_it(engine: Engine) -> None:
    chain(detect_anomalies_task.s(1, 2), freshness_check_task.si(), timeliness_check_task.si(60))()

    row = only(engine)
    assert [step["task"] for step in row["options"]["chain"]] == ["timeliness_check_task", "freshness_check_task"]


def test_a_chain_of_documented_tasks_runs_to_its_end(live: LiveServer) -> None:
    with calls_to(live.database_url):
        first, second = freshness_check_task.si(), timeliness_check_task.si(lookback_minutes=90)

        result = chain(first, second)()

        wait_for_state(result, "SUCCESS")
        assert isinstance(result.parent, AsyncResult)
        assert result.parent.get(timeout=5) == {"new_stale_pipelines": 0, "new_warnings": 0}
        assert result.kwargs == {"lookback_minutes": 90}


def test_links_are_kept(engine: Engine) -> None:
    freshness_check_task.apply_async(link=timeliness_check_task.si(), link_error=timeliness_check_task.si())

    options = only(engine)["options"]
    assert options["link"]["task"] == options["link_error"]["task"] == "timeliness_check_task"


def test_the_members_of_a_group_know_it(engine: Engine) -> None:
    result = group(detect_anomalies_task.s(1, number) for number in (2, 3))()

    rows = stored(engine)
    assert {row["options"]["group_id"] for row in rows} == {result.id}
    assert [str(row["task_id"]) for row in rows] == [member.id for member in result.results]
    assert [member.state for member in result.results] == ["PENDING", "PENDING"]


@pytest.mark.parametrize("expires", [3600, 3600.0, datetime(2030, 1, 1, tzinfo=UTC)])
def test_an_expiry_is_a_moment(engine: Engine, expires: Any) -> None:
    freshness_check_task.apply_async(expires=expires)

    moment = datetime.fromisoformat(only(engine)["options"]["expires"])
    seconds = (moment - datetime.now(UTC)).total_seconds()
    assert moment == expires if isinstance(expires, datetime) else 3000 < seconds <= 3600


def test_an_option_that_is_no_json_is_an_error_of_the_caller(engine: Engine) -> None:
    with pytest.raises(TypeError, match="object is no JSON"):
        freshness_check_task.apply_async(shadow=object())

    assert stored(engine) == []


@pytest.mark.usefixtures("database_away")
def test_with_the_database_away_the_broker_gets_the_call(app: Celery, caplog: pytest.LogCaptureFixture) -> None:
    result = detect_anomalies_task.apply_async((1, 2), countdown=60, link=freshness_check_task.si())

    (message,) = messages(app)
    args, kwargs, embedded = message.payload
    assert (message.headers["task"], message.headers["id"]) == ("detect_anomalies_task", result.id)
    assert (args, kwargs) == ([1, 2], {})
    assert embedded["callbacks"][0]["task"] == "freshness_check_task"
    assert datetime.fromisoformat(message.headers["eta"]) > datetime.now(UTC) + timedelta(seconds=30)
    assert "detect_anomalies_task goes to the broker" in caplog.text


@pytest.mark.usefixtures("database_away")
def test_with_the_database_away_wrong_arguments_are_still_an_error(app: Celery) -> None:
    with pytest.raises(TypeError):
        detect_anomalies_task.delay(1)

    assert messages(app) == []


def test_a_row_whose_answer_was_lost_and_its_message_are_one_task(
    engine: Engine, app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    class CutOff:
        @contextmanager
        def begin(self) -> Iterator[Any]:
            with engine.begin() as connection:
                yield connection
            raise OperationalError("COMMIT", None, Exception("server closed the connection unexpectedly"))

    monkeypatch.setattr("watcher_server.tasking.sending.calls.sync_engine", CutOff)

    result = freshness_check_task.delay()

    (message,) = messages(app)
    assert {message.headers["id"], str(only(engine)["task_id"])} == {result.id}


def test_an_id_that_is_no_uuid_goes_to_the_broker(engine: Engine, app: Celery) -> None:
    freshness_check_task.apply_async(task_id="tonight")

    (message,) = messages(app)
    assert message.headers["id"] == "tonight"
    assert stored(engine) == []


def test_a_statement_that_fails_is_no_matter_of_the_arguments(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = create_engine(engine.url, connect_args={"options": "-c search_path=pg_catalog"})
    monkeypatch.setattr("watcher_server.tasking.sending.calls.sync_engine", lambda: nowhere)

    with pytest.raises(Exception, match='relation "outbox" does not exist'):
        freshness_check_task.delay()
    nowhere.dispose()


def test_a_call_within_a_transaction_is_stored_although_that_is_rolled_back(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.begin()
        address_lineage_closure_rebuild_task.delay([1], 1)
        connection.rollback()

    assert UUID(str(only(engine)["task_id"]))
    assert json.loads(json.dumps(only(engine)["kwargs"])) == {"connected_addresses": [1], "pipeline_id": 1}
