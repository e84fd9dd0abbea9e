"""What is forgotten is deleted with all its history, and nothing brings it back."""

from datetime import UTC, datetime, timedelta

import httpx
from sqlalchemy import Engine, text

from tests.archive.test_archive import run_tasks
from tests.conftest import MakeClient
from tests.lineage.graphs import stored_closure
from tests.lineage.test_load import load
from tests.pings.conftest import MakeToken, token
from tests.support.checks import run_checks
from tests.support.factories import make_pipeline, start
from tests.support.rows import add_rule, add_run, ago, change_pipeline
from watcher_server.archive.forgetting import forget_all
from watcher_server.archive.service import Kind
from watcher_server.celery_tasks import forget_task

__all__ = ["token"]

# What may refer to a pipeline.
TABLES = """
SELECT table_name FROM information_schema.columns
WHERE table_schema = 'public' AND column_name = 'pipeline_id'
    AND table_name NOT IN ('task', 'pipeline_effective') ORDER BY 1
"""


def _left(engine: Engine, pipeline_id: int) -> list[str]:
    with engine.connect() as connection:
        return [
            table
            for table in connection.scalars(text(TABLES)).all()
            if connection.scalar(
                text(f"SELECT EXISTS (SELECT FROM {table} WHERE pipeline_id = :id)"),
                {"id": pipeline_id},
            )
        ]


def _fill(engine: Engine, pipeline_id: int) -> None:
    with engine.begin() as connection:
        change_pipeline(connection, pipeline_id, created_at=ago(days=2))
        add_rule(connection, pipeline_id)
        add_run(connection, pipeline_id, completed_successfully=False)
        connection.execute(
            text("INSERT INTO daily_pipeline_metric_change VALUES (current_date - 9, :id)"), {"id": pipeline_id}
        )
        connection.execute(
            text(
                "INSERT INTO missed_run_log (pipeline_id, expected_at, schedule, schedule_timezone,"
                " schedule_grace_minutes) VALUES (:id, now(), '* * * * *', 'UTC', 1)"
            ),
            {"id": pipeline_id},
        )
    run_checks(engine)


async def test_nothing_is_left_of_a_forgotten_pipeline(client: httpx.AsyncClient, engine: Engine) -> None:
    thresholds = {"freshness_number": 1, "freshness_datepart": "hour"}
    gone = await make_pipeline(client, "gone", **thresholds)
    stays = await make_pipeline(client, "stays", **thresholds)
    for pipeline in (gone, stays):
        await load(client, pipeline, ["a"], [f"b{pipeline}"])
        _fill(engine, pipeline)
    kept = _left(engine, stays)
    assert len(kept) >= 7

    answer = await client.delete(f"/pipeline/{gone}", params={"forget": True})
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    assert (await client.get(f"/pipeline/{gone}")).status_code == 404
    again = await make_pipeline(client, "gone")
    assert forget_task(kind="pipeline", id=gone)["finished"] is True

    run_tasks(engine)
    assert _left(engine, gone) == []
    assert _left(engine, stays) == kept
    assert [each["id"] for each in (await client.get("/pipeline")).json()] == [stays, again]
    assert (await client.get("/pipeline", params={"archived": True})).json() == []


async def test_runs_below_a_forgotten_one_stay_and_are_no_longer_below_it(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    for name in ("top", "gone", "bottom"):
        await make_pipeline(client, name)
    now = datetime.now(UTC)
    top = await start(client, 1, now - timedelta(minutes=3))
    middle = await start(client, 2, now - timedelta(minutes=2), parent_id=top)
    bottom = await start(client, 3, now - timedelta(minutes=1), parent_id=middle)
    closure = text("SELECT parent_execution_id, child_execution_id FROM pipeline_execution_closure ORDER BY 1, 2")
    with engine.begin() as connection:
        pairs = [(top, middle), (top, bottom), (middle, bottom)]
        for parent, child in pairs:
            connection.execute(
                text("INSERT INTO pipeline_execution_closure VALUES (:parent, :child, 1) ON CONFLICT DO NOTHING"),
                {"parent": parent, "child": child},
            )

    await client.delete("/pipeline/2", params={"forget": True})
    forget_task(kind="pipeline", id=2)

    with engine.connect() as connection:
        assert connection.execute(closure).all() == [(top, top), (bottom, bottom)]
    assert (await client.get(f"/pipeline_execution/{bottom}")).json()["parent_id"] is None


async def test_a_forgotten_pipeline_takes_no_more_reports(client: httpx.AsyncClient, engine: Engine) -> None:
    await make_pipeline(client)
    url = (await client.get("/pipeline/1")).json()["ping_url"]
    await client.delete("/pipeline/1", params={"forget": True})

    run = {"pipeline_id": 1, "start_date": datetime.now(UTC).isoformat()}
    assert (await client.post("/start_pipeline_execution", json=run)).status_code == 404
    assert (await load(client, 1, ["a"], ["b"])).status_code == 404
    assert (await client.get("/ping/" + url.rpartition("/")[2])).status_code == 404
    assert (await client.post("/pipeline/1/restore")).status_code == 404
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM pipeline_execution")) == 0


async def test_deleting_goes_on_where_a_turn_ended(client: httpx.AsyncClient, engine: Engine) -> None:
    await make_pipeline(client)
    with engine.begin() as connection:
        for _ in range(300):
            add_run(connection, 1)
    await client.delete("/pipeline/1", params={"forget": True})

    first = forget_all(engine, Kind.PIPELINE, 1, goes_on=lambda: False)
    second = forget_all(engine, Kind.PIPELINE, 1)

    assert (first.finished, second.finished, first.rows > 0, second.rows > 0) == (False, True, True, True)
    assert _left(engine, 1) == []
    assert forget_all(engine, Kind.PIPELINE, 1).rows == 0


async def test_a_forgotten_address_leaves_the_closure(client: httpx.AsyncClient, engine: Engine) -> None:
    await make_pipeline(client, "first")
    await make_pipeline(client, "second")
    await load(client, 1, ["a"], ["b"])
    await load(client, 2, ["b"], ["c"])
    run_tasks(engine)

    assert (await client.delete("/address/2", params={"forget": True})).status_code == 202
    assert (await client.get("/address/2")).status_code == 404
    forget_task(kind="address", id=2)
    run_tasks(engine)

    assert [each["name"] for each in (await client.get("/address")).json()] == ["a", "c"]
    assert {pair[:2] for pair in stored_closure(engine)} == {(1, 1), (3, 3)}


async def test_only_an_administrator_forgets(
    client: httpx.AsyncClient, token: MakeToken, make_client: MakeClient
) -> None:
    await make_pipeline(client)
    write, admin = token("write"), token("admin")
    async with make_client() as guarded:
        refused = await guarded.delete("/pipeline/1", params={"forget": True}, headers=write)
        archived = await guarded.delete("/pipeline/1", headers=write)
        forgotten = await guarded.delete("/pipeline/1", params={"forget": True}, headers=admin)

    assert (refused.status_code, "admin" in refused.json()["detail"]) == (403, True)
    assert (archived.status_code, forgotten.status_code) == (200, 202)
