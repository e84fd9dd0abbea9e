"""Events that fail keep no others from being applied, and are applied again once their cause is mended."""

import json
import zlib
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from tests.openlineage.conftest import Run
from tests.openlineage.kept import kept, put_failed, put_raw, query, queued, state_of, write
from tests.support.openlineage import dataset, later, output, parent, put, run_event, send
from tests.support.rows import ago, now
from watcher_server.openlineage.replaying import replay_failed, replay_since, replay_these
from watcher_server.openlineage.tasks import openlineage_apply_task

GOOD = zlib.compress(json.dumps(run_event("COMPLETE", ago(minutes=1), job="mended", run="m")).encode())


def alerts(engine: Engine) -> list[tuple[Any, ...]]:
    return query(engine, "SELECT level, title, message FROM alert ORDER BY id")


def test_an_event_that_cannot_be_applied_is_put_aside_told_once_and_replayed_when_mended(engine: Engine) -> None:
    others = [run_event("COMPLETE", ago(minutes=number), job=f"job {number}") for number in range(40)]
    put(engine, others[:20])
    poison = put_raw(engine)
    put(engine, others[20:])
    another = put_raw(engine)
    openlineage_apply_task()

    assert {id_: what for id_, what in kept(engine).items() if what != "applied"} == {
        poison: "failed",
        another: "failed",
    }
    assert len(query(engine, "SELECT FROM pipeline_execution")) == 40
    ((level, title, message),) = alerts(engine)
    assert (level, title) == ("WARNING", "OpenLineage Event Failed")
    assert f"Event {poison} could not be applied" in message
    ((error, received_at),) = query(
        engine, "SELECT error, received_at FROM openlineage_failed_event WHERE id = :id", id=poison
    )
    assert error.startswith("error: ")

    write(engine, "UPDATE openlineage_failed_event SET body = :body", body=GOOD)
    assert replay_failed(engine.begin).events == 2
    assert query(engine, "SELECT received_at FROM openlineage_event WHERE id = :id", id=poison) == [(received_at,)]
    assert queued(engine) == 1
    openlineage_apply_task()
    assert set(kept(engine).values()) == {"applied"}
    assert len(query(engine, "SELECT FROM pipeline WHERE name = 'demo/mended'")) == 1
    assert len(alerts(engine)) == 1


def test_one_that_fails_again_is_put_aside_again_and_not_told_again(engine: Engine) -> None:
    poison = put_raw(engine)
    openlineage_apply_task()
    replay_failed(engine.begin)
    openlineage_apply_task()

    assert kept(engine) == {poison: "failed"}
    assert len(alerts(engine)) == 1


async def test_events_are_replayed_by_their_ids_by_failure_and_by_arrival(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    old = put_raw(engine, GOOD, received_at=ago(days=2))
    (new, newer) = put(engine, [run_event("START", now(), job="a"), run_event("START", now(), job="b")])
    openlineage_apply_task()
    failed = put_failed(engine, run_event("START", now(), job="c"), failed_at=ago(hours=1))
    write(engine, "DELETE FROM outbox")

    async def replay(**body: Any) -> Any:
        answer = await client.post("/openlineage/replay", json=body)
        assert answer.status_code == 202, answer.text
        return answer.json()

    assert await replay(event_ids=[old, 987654, old]) == {"replayed": 1, "unknown": [987654]}
    assert kept(engine) == {old: "waiting", new: "applied", newer: "applied", failed: "failed"}
    assert await replay(event_ids=[old]) == {"replayed": 0, "unknown": []}
    assert await replay(state="failed") == {"replayed": 1, "unknown": []}
    openlineage_apply_task()
    assert set(kept(engine).values()) == {"applied"}
    assert await replay(since=ago(days=1).isoformat()) == {"replayed": 3, "unknown": []}
    assert kept(engine)[old] == "applied"
    assert queued(engine) == 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"event_ids": []},
        {"event_ids": ["x"]},
        {"event_ids": [1], "state": "failed"},
        {"state": "applied"},
        {"since": "yesterday"},
        {"since": None},
        [],
    ],
)
async def test_a_replay_of_nothing_that_can_be_meant_is_refused(
    client: httpx.AsyncClient, engine: Engine, body: Any
) -> None:
    put_failed(engine, run_event("START", now()))
    answer = await client.post("/openlineage/replay", json=body)

    assert answer.status_code == 422
    assert set(kept(engine).values()) == {"failed"}


def test_replaying_everything_gives_the_same_state_and_alerts_nobody(engine: Engine) -> None:
    start = ago(days=3)
    events = [
        run_event("START", start, job="dag", run="p"),
        run_event(
            "START", later(start, 1), job="load", run="c", run_facets=parent("dag", "p"), inputs=[dataset("a.b.c")]
        ),
        run_event("FAIL", later(start, 9), job="load", run="c", outputs=[output("a.b.d", rows=3)]),
        run_event("COMPLETE", later(start, 10), job="dag", run="p"),
    ]
    send(engine, *events)
    before = state_of(engine)
    write(engine, "DELETE FROM outbox")
    assert replay_since(engine.begin, ago(days=1)).events == 4
    openlineage_apply_task()

    assert state_of(engine) == before
    assert alerts(engine) == []
    # Nothing is judged again, because nothing changed.
    assert queued(engine, "judge_failure_task") == 0


def test_more_than_a_batch_is_replayed_once_each(engine: Engine) -> None:
    ids = put(engine, [run_event("START", now(), job="a", run=f"r{number}") for number in range(2_100)])
    write(engine, "UPDATE openlineage_event SET applied_at = now()")
    assert replay_since(engine.begin, ago(hours=1)).events == 2_100
    assert replay_since(engine.begin, ago(hours=1)).events == 0
    write(engine, "UPDATE openlineage_event SET applied_at = now()")
    assert replay_these(engine.begin, ids).events == 2_100


def test_the_command_replays_and_says_how_many(engine: Engine, run: Run) -> None:
    assert "No event is applied again" in run("replay", "--failed").out
    (done,) = put(engine, [run_event("START", now())])
    openlineage_apply_task()
    failed = put_failed(engine, run_event("START", now(), job="b"))

    assert run("replay", failed).out == "1 event will be applied again by the workers.\n"
    assert run("replay", "--since", "2020-01-01").out == "1 event will be applied again by the workers.\n"
    assert kept(engine) == {done: "waiting", failed: "waiting"}
    for arguments, said in (
        ((), "in one way: their ids, --failed, or --since MOMENT"),
        (("1", "--failed"), "in one way"),
        (("--since", "someday"), "--since cannot be someday"),
        (("31337",), "No event that is kept has the id 31337."),
    ):
        ended = run("replay", *arguments)
        assert (ended.status, said in ended.error) == (1, True), ended
