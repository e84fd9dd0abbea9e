"""Streams that fall silent, and namespaces from which nothing comes."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine

from tests.openlineage.known import alerts, executions, rows, write
from tests.support.openlineage import Event, dataset, job_type, later, output, run_event, send
from watcher_server.executions.endless import find_silent
from watcher_server.incidents.resolving import resolve_what_is_over
from watcher_server.openlineage.silence import tell_silence

STREAM = job_type("FLINK", "JOB", "STREAMING")


def beat(minutes_ago: float, kind: str = "RUNNING", **facets: Any) -> Event:
    """An event of a stream."""
    at = later(datetime.now(UTC), -60 * minutes_ago)
    job = {"jobType": {**STREAM["jobType"], **facets}}
    return run_event(kind, at, job_facets=job, inputs=[dataset("a.b.c")], outputs=[output("a.b.d")])


def look(engine: Engine) -> list[str]:
    """Do what the keeper does each minute; the states of the incidents that there are then."""
    with engine.begin() as connection:
        tell_silence(connection)
        resolve_what_is_over(connection)
    return [row["state"] for row in rows(engine, "SELECT state FROM incident WHERE kind = 'silent' ORDER BY id")]


def test_a_stream_that_says_nothing_is_silent_until_it_does(engine: Engine) -> None:
    send(engine, beat(60, "START"), *(beat(60 - minute) for minute in range(1, 41)))
    assert look(engine) == ["open"]
    assert look(engine) == ["open"]
    (alert,) = alerts(engine)
    assert (alert["level"], alert["title"]) == ("ERROR", "Nothing Heard")
    assert alert["message"] == "nothing heard from demo/etl"
    (status,) = rows(engine, "SELECT kind, execution_id FROM incident")
    assert status == {"kind": "silent", "execution_id": executions(engine)[0]["id"]}
    send(engine, beat(0))
    assert look(engine) == ["resolved"]


def test_a_stream_that_says_little_is_not_silent_so_soon(engine: Engine) -> None:
    # One event in 20 minutes, so that 50 minutes of silence are less than three of these.
    send(engine, beat(130, "START"), beat(110), beat(90), beat(70), beat(50))
    assert look(engine) == []


def test_a_stream_with_a_long_window_is_not_silent_within_it(engine: Engine) -> None:
    window: dict[str, Any] = {
        "emissionPattern": {"eventTrigger": "PERIODIC", "eventContentMode": "ACCUMULATIVE", "windowDuration": 1_800}
    }
    send(engine, beat(62, "START", **window), beat(61, **window), beat(60, **window))
    assert look(engine) == []


def test_a_stream_that_ended_is_not_silent(engine: Engine) -> None:
    send(engine, beat(60, "START"), beat(59))
    assert look(engine) == ["open"]
    send(engine, beat(58, "COMPLETE"))
    assert look(engine) == ["resolved"]


def test_a_stream_is_never_lost(engine: Engine) -> None:
    send(engine, beat(60 * 24 * 30, "START"), beat(60 * 24 * 20))
    send(engine, run_event("START", later(datetime.now(UTC), -86_400 * 2), job="batch"))
    batch = next(run for run in executions(engine) if run["pipeline"] == "demo/batch")
    with engine.begin() as connection:
        assert [run.id for run in find_silent(connection, 24)] == [batch["id"]]


def test_several_missed_runs_and_no_event_are_one_problem_of_the_sender(engine: Engine) -> None:
    began = datetime.now(UTC) - timedelta(hours=5)
    for job in ("one", "two"):
        send(engine, run_event("COMPLETE", began, job=job))
    write(engine, "UPDATE openlineage_source SET last_at = :at", at=began)
    write(engine, "UPDATE pipeline SET schedule = '0 * * * *', last_missed_run = now()")
    miss = """
        INSERT INTO incident (kind, pipeline_id, level, detail, count, since, state)
        SELECT 'missed', id, 'WARNING', 'x', :count, :since, 'open' FROM pipeline
    """
    write(engine, miss, count=2, since=began + timedelta(hours=1))
    assert look(engine) == []
    write(engine, "UPDATE incident SET count = 3")
    assert look(engine) == ["open"]
    assert look(engine) == ["open"]
    (alert,) = alerts(engine)
    assert alert["message"] == "nothing heard from demo"
    assert "2 pipelines missed 3 runs" in str(alert["details"])
    send(engine, run_event("START", datetime.now(UTC), job="three"))
    assert look(engine) == ["resolved"]


def test_a_namespace_that_still_sends_is_not_silent(engine: Engine) -> None:
    send(engine, run_event("COMPLETE", datetime.now(UTC)))
    miss = """
        INSERT INTO incident (kind, pipeline_id, level, detail, count, since, state)
        SELECT 'missed', id, 'WARNING', 'x', 3, now() - interval '3 hours', 'open' FROM pipeline
    """
    write(engine, miss)
    assert look(engine) == []
