"""Looking at events: how many came, which failed and why, without the secrets in them."""

import json
import zlib

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine

from tests.auth.test_access import bearer, make_token
from tests.conftest import MakeClient
from tests.openlineage.conftest import Run
from tests.openlineage.kept import put_failed, put_raw, write
from tests.support.openlineage import dataset, job_type, output, put, run_event, send
from tests.support.rows import ago, now
from watcher_server.auth import service as tokens
from watcher_server.cli.snapshot import take_snapshot
from watcher_server.diagnostics.checks import Verdict
from watcher_server.diagnostics.work import judge_tasks, read_work
from watcher_server.settings import load_settings

SECRET = "hunter2-and-more"


async def test_before_the_first_event_everything_is_zero(client: httpx.AsyncClient) -> None:
    status = (await client.get("/openlineage/status")).json()

    assert status == {
        "received": 0,
        "applied": 0,
        "repeated": 0,
        "ignored": 0,
        "waiting": 0,
        "oldest_waiting_seconds": None,
        "failed": 0,
        "last_received_at": None,
        "producers": [],
    }


async def test_the_status_counts_what_became_of_events_and_names_who_sends(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    done = run_event("COMPLETE", now())
    send(engine, run_event("START", ago(minutes=1), job_facets=job_type("SPARK")), done, done)
    put_raw(engine, received_at=ago(minutes=3))
    put_failed(engine, done)
    status = (await client.get("/openlineage/status")).json()

    assert 179 < status.pop("oldest_waiting_seconds") < 300
    assert status.pop("last_received_at") is not None
    (sender,) = status.pop("producers")
    assert (sender["namespace"], sender["version"], sender["integration"], sender["events"]) == (
        "demo",
        "1.54.0",
        "spark",
        3,
    )
    assert status == {"received": 5, "applied": 2, "repeated": 1, "ignored": 0, "waiting": 1, "failed": 1}


async def test_events_are_listed_by_what_became_of_them_and_by_job_and_run(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    send(engine, run_event("START", now(), job="a", run="r1"), run_event("START", now(), job="b", run="r2"))
    (waiting,) = put(engine, [run_event("COMPLETE", now(), job="a", run="r1")])

    async def found(**wanted: str) -> list[tuple[str, str, str]]:
        answer = (await client.get("/openlineage/events", params=wanted)).json()
        assert answer["complete"]
        return [(each["job"], each["run_id"], each["event_type"]) for each in answer["events"]]

    assert await found() == []
    assert await found(state="waiting") == [("a", "r1", "COMPLETE")]
    assert await found(state="applied") == [("b", "r2", "START"), ("a", "r1", "START")]
    assert (
        await found(state="applied", job="demo/a") == await found(state="applied", run="r1") == [("a", "r1", "START")]
    )
    assert await found(state="applied", job="a", run="r2") == []
    (only,) = (await client.get("/openlineage/events", params={"state": "applied", "limit": 1})).json()["events"]
    assert only["job"] == "b"
    one = (await client.get(f"/openlineage/events/{waiting}")).json()
    assert (one["state"], one["body"]["job"]["name"]) == ("waiting", "a")
    assert (await client.get("/openlineage/events/99999")).status_code == 404
    assert (await client.get("/openlineage/events", params={"state": "odd"})).status_code == 422


async def test_secrets_are_masked_wherever_an_event_is_shown(
    client: httpx.AsyncClient, engine: Engine, run: Run
) -> None:
    event = run_event(
        "START",
        now(),
        namespace=f"postgres://loader:{SECRET}@wh:5432",
        inputs=[
            dataset("t", f"postgres://loader:{SECRET}@wh:5432", dataSource={"uri": f"postgres://u:{SECRET}@wh/db"})
        ],
        run_facets={
            "environmentVariables": {"environmentVariables": [{"name": "DB_PASSWORD", "value": SECRET}]},
            "spark_properties": {"properties": {"fs.s3a.secret.key": SECRET, "spark.master": "yarn"}},
        },
        job_facets={"sql": {"query": f"COPY t FROM 'https://u:{SECRET}@files/x' -- password={SECRET}"}},
    )
    event_id = put_failed(engine, event, f"ValueError: postgres://loader:{SECRET}@wh:5432 is odd")
    send(engine, event)
    pages = [
        (await client.get("/openlineage/events")).text,
        (await client.get("/openlineage/events", params={"state": "applied"})).text,
        (await client.get(f"/openlineage/events/{event_id}")).text,
        (await client.get("/openlineage/status")).text,
        run("status").out,
        run("failed").out,
        run("failed", "--json").out,
        run("show", event_id).out,
    ]

    assert [SECRET in page for page in pages] == [False] * len(pages)
    assert "yarn" in pages[2]


async def test_a_body_that_cannot_be_read_and_a_long_one_are_shown_as_far_as_that_goes(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    broken = put_raw(engine)
    (long,) = put(engine, [run_event("START", now(), outputs=[output("x" * 300_000)])])
    listed = {each["id"]: each for each in (await client.get("/openlineage/events?state=waiting")).json()["events"]}

    assert listed[broken]["body"] is None
    assert "zlib" in listed[broken]["unreadable"] or "error" in listed[broken]["unreadable"]
    assert listed[long]["body"] is None
    assert listed[long]["bytes"] > 300_000
    assert len((await client.get(f"/openlineage/events/{long}")).json()["body"]["outputs"][0]["name"]) == 300_000


async def test_only_administrators_see_events_and_replay_them(make_client: MakeClient, engine: Engine) -> None:
    read, admin = make_token(engine, "read", "reader"), make_token(engine, "admin", "boss")
    try:
        async with make_client() as client:
            for path in ("/openlineage/events", "/openlineage/events/1"):
                assert (await client.get(path, headers=bearer(read))).status_code == 403
            assert (await client.get("/openlineage/status", headers=bearer(read))).status_code == 200
            assert (await client.get("/openlineage/events", headers=bearer(admin))).status_code == 200
            body = {"state": "failed"}
            assert (await client.post("/openlineage/replay", json=body, headers=bearer(read))).status_code == 403
            assert (await client.post("/openlineage/replay", json=body, headers=bearer(admin))).status_code == 202
    finally:
        with engine.begin() as connection:
            for name in ("reader", "boss"):
                tokens.revoke_token(connection, name)


def test_the_commands_say_what_is_wrong_and_what_to_do(engine: Engine, run: Run) -> None:
    assert "No event has come yet" in run("status").out
    assert run("failed").out == "No event has failed.\n"
    send(engine, run_event("START", now()))
    good = run("status")
    event_id = put_failed(engine, run_event("START", now(), job="odd"), "KeyError: 'facets'\nmore")
    bad, failed, shown = run("status"), run("failed"), run("show", event_id)

    assert good.status == 0
    assert "1 events: 1 applied" in good.out
    assert bad.status == 1
    assert "1 event failed: `watcher openlineage failed` says why" in bad.out
    assert json.loads(run("status", "--json").out)["failed"] == 1
    assert "KeyError: 'facets'" in failed.out
    assert "more" not in failed.out.splitlines()[1].split()
    assert "watcher openlineage replay --failed" in failed.out
    assert json.loads(shown.out)["body"]["job"]["name"] == "odd"
    missing = run("show", 424242)
    assert (missing.status, "There is no event 424242" in missing.error) == (1, True)
    assert "No event that failed is like that" in run("failed", "--job", "else").out


@pytest.mark.usefixtures("valkey")
async def test_prometheus_reads_what_came_and_what_is_stuck(client: httpx.AsyncClient, engine: Engine) -> None:
    async def read() -> dict[tuple[str, ...], float]:
        answer = await client.get("/metrics")
        return {
            (sample.name.removeprefix("watcher_openlineage_"), *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
            if sample.name.startswith("watcher_openlineage_")
        }

    nothing = await read()
    event = run_event("START", now(), job_facets=job_type("DBT"), run_facets={"parent": 7, "madeUp": {}})
    odd = run_event("START", now(), namespace="home", job_facets=job_type("Home-Made"))
    send(engine, event, event, odd)
    put_raw(engine, received_at=ago(minutes=5))
    put_failed(engine, event)
    values = await read()

    assert nothing["waiting",] == nothing["failed",] == nothing["oldest_waiting_seconds",] == 0
    assert (values["events_total", "dbt", "applied"], values["events_total", "dbt", "repeated"]) == (1, 1)
    assert values["events_total", "other", "applied"] == 1
    assert values["bytes_total", "dbt"] == 2 * len(zlib.compress(json.dumps(event).encode(), 1))
    assert values["dropped_facets_total", "parent"] == 1
    assert values["dropped_facets_total", "other"] == 1
    assert (values["waiting",], values["failed",]) == (1, 1)
    assert values["oldest_waiting_seconds",] > 299


def test_status_and_diagnosis_say_when_events_failed_or_wait_for_long(engine: Engine) -> None:
    settings = load_settings()

    def lines() -> list[str]:
        return [service.text for service in take_snapshot(settings).services if service.name == "OpenLineage"]

    def check() -> tuple[str, Verdict]:
        with engine.connect() as connection:
            (found,) = [
                check
                for check in judge_tasks(read_work(connection, settings), settings)
                if check.title == "Events of OpenLineage"
            ]
        return found.figure, found.verdict

    assert lines() == []
    assert check() == ("all applied", Verdict.OK)
    put_raw(engine)
    assert lines() == []
    assert check() == ("1 waiting", Verdict.OK)
    put_raw(engine, received_at=ago(minutes=10), lane="other")
    (line,) = lines()
    assert line == "2 waiting, the oldest for 10m: start a worker that serves `scheduled`"
    write(engine, "DELETE FROM openlineage_event")
    put_failed(engine, run_event("START", now()))
    assert lines() == ["1 event failed: see `watcher openlineage failed`"]
    assert check() == ("1 event failed", Verdict.ACT)
