"""The dead man's switch: somebody else hears when Watcher is not well, or hears nothing any more."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import OperationalError

from tests.incidents.test_watcher import checked, up_for, worker
from tests.support.http_sink import HttpSink, http_sink
from tests.support.live import free_port
from tests.support.notifications import put
from tests.support.rows import ago
from watcher_server.cli.snapshot import take_snapshot
from watcher_server.diagnostics.checks import Verdict
from watcher_server.diagnostics.work import judge_tasks, read_work
from watcher_server.incidents.duties import keeper_duties
from watcher_server.incidents.heartbeat import find_unanswered_calls, send_heartbeat
from watcher_server.settings import Settings, load_settings
from watcher_server.tasking.keeper.duties import each_minute

pytestmark = pytest.mark.usefixtures("valkey")
PING = "/ping/0c8983c9-9d73-446f-adb5-0641fdacc9d4"


@pytest.fixture
def sink() -> Iterator[HttpSink]:
    with http_sink() as found:
        yield found


@pytest.fixture
def well(engine: Engine) -> Engine:
    """Watcher has been up for long, with a worker, and its checks run."""
    up_for(engine, 15)
    worker(engine)
    checked(engine, seconds=5)
    return engine


def ping(sink: HttpSink) -> Settings:
    return load_settings(heartbeat_url=f"{sink.url}{PING}")


def calls(sink: HttpSink) -> list[tuple[str, str]]:
    return [(each.method, each.path) for each in sink.received]


def test_it_is_called_while_all_is_well(well: Engine, sink: HttpSink) -> None:
    send_heartbeat(well, ping(sink))

    assert calls(sink) == [("GET", PING)]


def test_the_keeper_does_it_each_minute_and_when_it_takes_over() -> None:
    duty = next(duty for duty in keeper_duties(load_settings()) if duty.name == "call the heartbeat URL")

    assert (duty.due, duty.at_once) == (each_minute, True)


def test_without_a_url_nobody_is_called(well: Engine, sink: HttpSink) -> None:
    send_heartbeat(well, load_settings())

    assert sink.received == []


def test_a_dead_worker_is_said(well: Engine, sink: HttpSink) -> None:
    worker(well, seen=timedelta(minutes=3))

    send_heartbeat(well, ping(sink))

    assert calls(sink) == [("POST", f"{PING}/fail")]
    assert b"No worker is alive" in sink.received[0].body


def test_a_stopped_beat_is_said(well: Engine, sink: HttpSink) -> None:
    checked(well, hours=2)

    send_heartbeat(well, ping(sink))

    assert calls(sink) == [("POST", f"{PING}/fail")]
    assert b"is `watcher beat` alive?" in sink.received[0].body


def test_with_a_stopped_database_it_falls_silent(sink: HttpSink) -> None:
    gone = create_engine(f"postgresql+psycopg://nobody@127.0.0.1:{free_port()}/none")

    with pytest.raises(OperationalError):
        send_heartbeat(gone, ping(sink))

    assert sink.received == []


def test_a_lane_that_stands_still_is_said(well: Engine, sink: HttpSink) -> None:
    put(well, next_try_at=ago(minutes=6))

    send_heartbeat(well, ping(sink))

    assert b"Alerts have waited for more than 5 minutes" in sink.received[0].body


def test_that_no_channel_delivers_is_said_and_that_another_does_is_well(well: Engine, sink: HttpSink) -> None:
    broken = "INSERT INTO channel (name, failures, failing_since) VALUES (:name, 9, now() - interval '20 minutes')"
    with well.begin() as connection:
        connection.execute(text(broken), {"name": "pager"})
    send_heartbeat(well, ping(sink))
    with well.begin() as connection:
        connection.execute(text(broken), {"name": "default"})
    send_heartbeat(well, ping(sink))

    assert calls(sink) == [("GET", PING), ("POST", f"{PING}/fail")]
    assert b"No channel delivers alerts: default, pager" in sink.received[1].body


def test_a_url_that_takes_no_reasons_is_not_called_then(well: Engine, sink: HttpSink) -> None:
    plain = load_settings(heartbeat_url=f"{sink.url}/api/push/x?status=up")
    send_heartbeat(well, plain)
    worker(well, seen=timedelta(minutes=3))
    send_heartbeat(well, plain)

    assert calls(sink) == [("GET", "/api/push/x?status=up")]


def test_just_after_a_start_nobody_is_alarmed(engine: Engine, sink: HttpSink) -> None:
    up_for(engine, 1)
    worker(engine, seen=timedelta(minutes=30))

    send_heartbeat(engine, ping(sink))

    assert sink.received == []


def test_a_url_that_does_not_answer_is_known_until_it_does(well: Engine, sink: HttpSink) -> None:
    assert unanswered(well) is None
    sink.say(500)
    send_heartbeat(well, ping(sink))
    assert unanswered(well) == "The heartbeat URL answered with status 500"
    fail_since(well, minutes=7)

    send_heartbeat(well, load_settings(heartbeat_url=f"http://127.0.0.1:{free_port()}/ping/x"))
    assert unanswered(well) == "The heartbeat URL could not be reached (ConnectError)"
    with well.connect() as connection:
        found = find_unanswered_calls(connection)
    assert found is not None
    assert found.seconds >= 7 * 60

    send_heartbeat(well, ping(sink))
    assert unanswered(well) is None


@pytest.mark.parametrize("word", ["not found", "rate limited"])
def test_a_call_that_healthchecks_ignores_counts_as_unanswered(well: Engine, sink: HttpSink, word: str) -> None:
    sink.say(200, f"OK ({word})")
    send_heartbeat(well, ping(sink))
    assert unanswered(well) == f"The heartbeat URL ignores the calls: {word}"

    sink.say(200, "<html>" + "x" * 1000)
    send_heartbeat(well, ping(sink))
    assert unanswered(well) is None


def test_a_reason_that_is_not_taken_counts_as_unanswered(well: Engine, sink: HttpSink) -> None:
    worker(well, seen=timedelta(minutes=3))
    sink.say(404)

    send_heartbeat(well, ping(sink))

    assert unanswered(well) == "The heartbeat URL answered with status 404"


def test_what_was_not_answered_long_ago_tells_nothing(well: Engine, sink: HttpSink) -> None:
    sink.say(500)
    send_heartbeat(well, ping(sink))
    with well.begin() as connection:
        connection.execute(text("UPDATE heartbeat_call SET called_at = now() - interval '6 minutes'"))

    assert unanswered(well) is None


def test_status_and_diagnosis_say_that_it_does_not_answer(well: Engine, sink: HttpSink) -> None:
    assert "Heartbeat" not in [service.name for service in take_snapshot(ping(sink)).services]
    assert diagnosed(well, ping(sink)) == ("answers", Verdict.OK)
    assert diagnosed(well, load_settings()) == ("not set", Verdict.OK)
    sink.say(500)
    send_heartbeat(well, ping(sink))
    fail_since(well, minutes=7)

    said = take_snapshot(ping(sink)).services[-1]
    assert (said.name, said.is_good) == ("Heartbeat", False)
    assert said.text.startswith("The heartbeat URL answered with status 500, for 7m")
    figure, verdict = diagnosed(well, ping(sink))
    assert figure.startswith("The heartbeat URL answered with status 500, for 7m")
    assert verdict is Verdict.ACT


def unanswered(engine: Engine) -> str | None:
    with engine.connect() as connection:
        found = find_unanswered_calls(connection)
    return None if found is None else found.error


def fail_since(engine: Engine, minutes: int) -> None:
    statement = text("UPDATE heartbeat_call SET failing_since = now() - make_interval(mins => :minutes)")
    with engine.begin() as connection:
        connection.execute(statement, {"minutes": minutes})


def diagnosed(engine: Engine, settings: Settings) -> tuple[str, Verdict]:
    with engine.connect() as connection:
        checks = judge_tasks(read_work(connection, settings), settings)
    return next((check.figure, check.verdict) for check in checks if check.title == "Heartbeat URL")
