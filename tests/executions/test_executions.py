"""Starting, ending and reading executions."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.support.factories import START, end, make_pipeline, make_rule, start

END = START + timedelta(minutes=5)


def outbox(engine: Engine) -> list[tuple[str, dict[str, Any]]]:
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT task_name, kwargs FROM outbox ORDER BY id"))
        return [(row.task_name, row.kwargs) for row in rows]


async def test_a_run_is_stored_with_what_it_did(client: httpx.AsyncClient) -> None:
    pipeline_id = await make_pipeline(client)
    started = await client.post(
        "/start_pipeline_execution",
        json={"pipeline_id": pipeline_id, "start_date": "2026-03-01T02:30:00+05:00", "watermark": 1},
    )
    answer = await client.post(
        "/end_pipeline_execution",
        json={
            "id": started.json()["id"],
            "end_date": "2026-02-28T21:31:01Z",
            "completed_successfully": True,
            "inserts": 10,
            "updates": 7,
            "soft_deletes": 3,
            "total_rows": 100,
            "execution_metadata": {"Note": "ok"},
        },
    )

    assert (started.status_code, answer.status_code, answer.content) == (201, 204, b"")
    assert (await client.get("/pipeline_execution/1")).json() == {
        "id": 1,
        "parent_id": None,
        "pipeline_id": pipeline_id,
        "start_date": "2026-02-28T21:30:00+00:00",
        "end_date": "2026-02-28T21:31:01+00:00",
        "duration_seconds": 61,
        "completed_successfully": True,
        "inserts": 10,
        "updates": 7,
        "soft_deletes": 3,
        "total_rows": 100,
        "watermark": "1",
        "next_watermark": None,
        "execution_metadata": {"Note": "ok"},
        "anomaly_flags": {},
        "throughput": 1.6393,
        "duration_ms": 61_000,
        "clock_skew_seconds": None,
        "outcome": None,
        "backfill": False,
        "nothing_to_do": False,
        "child_executions": [],
    }


async def test_date_and_hour_are_those_of_the_start_in_utc(client: httpx.AsyncClient, engine: Engine) -> None:
    pipeline_id = await make_pipeline(client)
    await client.post(
        "/start_pipeline_execution",
        json={"pipeline_id": pipeline_id, "start_date": "2026-03-01T02:30:00+05:00"},
    )

    with engine.connect() as connection:
        row = connection.execute(text("SELECT date_recorded::text, hour_recorded FROM pipeline_execution")).one()
    assert tuple(row) == ("2026-02-28", 21)


@pytest.fixture
def _server_elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The server's own clock is five hours ahead of UTC."""
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TZ", "XXX-5")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("_server_elsewhere")
async def test_a_date_without_an_offset_is_in_utc_wherever_the_server_is(client: httpx.AsyncClient) -> None:
    execution_id = await start(client, await make_pipeline(client), START.replace(tzinfo=None))
    await end(client, execution_id, END.replace(tzinfo=None))

    stored = (await client.get(f"/pipeline_execution/{execution_id}")).json()

    assert (stored["start_date"], stored["end_date"]) == (START.isoformat(), END.isoformat())


async def test_both_dates_default_to_now(client: httpx.AsyncClient) -> None:
    pipeline_id = await make_pipeline(client)
    started = await client.post("/start_pipeline_execution", json={"pipeline_id": pipeline_id})
    body = {"id": started.json()["id"], "completed_successfully": True}

    ended = await client.post("/end_pipeline_execution", json=body)
    repeated = await client.post("/end_pipeline_execution", json=body)

    assert (ended.status_code, repeated.status_code) == (204, 204)


@pytest.mark.parametrize(("seconds", "duration"), [(0.4, 0), (1.6, 2), (61, 61)])
async def test_a_duration_is_rounded_to_whole_seconds(client: httpx.AsyncClient, seconds: float, duration: int) -> None:
    execution_id = await start(client, await make_pipeline(client))

    await end(client, execution_id, START + timedelta(seconds=seconds))

    assert (await client.get(f"/pipeline_execution/{execution_id}")).json()["duration_seconds"] == duration


@pytest.mark.parametrize(
    ("seconds", "total_rows", "throughput"),
    [(0.4, 10, 25), (3, 10, 3.3333), (3, None, None), (1, 2**63 - 1, 2**63 - 1)],
)
async def test_throughput_is_rows_per_second(
    client: httpx.AsyncClient, seconds: float, total_rows: int | None, throughput: float | None
) -> None:
    execution_id = await start(client, await make_pipeline(client))

    await end(client, execution_id, START + timedelta(seconds=seconds), total_rows=total_rows)

    stored = (await client.get(f"/pipeline_execution/{execution_id}")).json()
    assert stored["throughput"] == (throughput and pytest.approx(throughput))
    assert stored["total_rows"] == total_rows


@pytest.mark.parametrize("body", [{"pipeline_id": 99}, {"pipeline_id": 1, "parent_id": 99}])
async def test_an_unknown_pipeline_or_parent_is_404_and_stores_nothing(
    client: httpx.AsyncClient, engine: Engine, body: dict[str, int]
) -> None:
    await make_pipeline(client)

    answer = await client.post("/start_pipeline_execution", json=body)

    assert answer.status_code == 404
    assert "99" in answer.json()["detail"]
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM pipeline_execution_closure")) == 0


async def test_an_end_before_the_start_is_400(client: httpx.AsyncClient) -> None:
    execution_id = await start(client, await make_pipeline(client))

    answer = await end(client, execution_id, START)

    assert answer.status_code == 400
    assert "end_date must be greater than start_date" in answer.json()["detail"]


async def test_an_unknown_execution_is_404(client: httpx.AsyncClient) -> None:
    assert (await end(client, 99)).status_code == 404
    assert (await client.get("/pipeline_execution/99")).status_code == 404


@pytest.mark.parametrize(
    "change",
    [
        {"inserts": -1},
        {"total_rows": 2**63},
        {"end_date": "0001-01-01T00:00:00+05:00"},
        {"end_date": "yesterday"},
        {"completed_successfully": None},
        {"execution_metadata": {"a": "\x00"}},
        {"id": 2**63},
    ],
)
async def test_a_bad_end_is_422_and_changes_nothing(client: httpx.AsyncClient, change: dict[str, Any]) -> None:
    execution_id = await start(client, await make_pipeline(client))
    body = {"id": execution_id, "end_date": END.isoformat(), "completed_successfully": True, **change}

    answer = await client.post("/end_pipeline_execution", json=body)

    assert answer.status_code == 422
    assert (await client.get(f"/pipeline_execution/{execution_id}")).json()["end_date"] is None


class TestSuccess:
    """What a successful end does to its pipeline."""

    async def test_it_moves_the_pipeline(self, client: httpx.AsyncClient) -> None:
        pipeline_id = await make_pipeline(client, next_watermark="p-2")
        execution_id = await start(client, pipeline_id)

        await end(client, execution_id, END, inserts=1, updates=0)

        pipeline = (await client.get(f"/pipeline/{pipeline_id}")).json()
        assert pipeline["watermark"] == "p-2"
        assert pipeline["last_target_insert"] == "2026-03-01T02:05:00Z"
        assert pipeline["last_target_update"] is None
        assert pipeline["load_lineage"] is False
        assert pipeline["updated_at"] is None

    @pytest.mark.parametrize("kind", ["insert", "update", "soft_delete"])
    async def test_each_count_above_zero_moves_the_date_of_its_own_kind(
        self, client: httpx.AsyncClient, kind: str
    ) -> None:
        kinds = ("insert", "update", "soft_delete")
        pipeline_id = await make_pipeline(client)
        counts: dict[str, Any] = {f"{name}s": int(name == kind) for name in kinds}

        await end(client, await start(client, pipeline_id), END, **counts)

        pipeline = (await client.get(f"/pipeline/{pipeline_id}")).json()
        moved = {name: pipeline[f"last_target_{name}"] for name in kinds}
        assert moved == {**dict.fromkeys(kinds), kind: "2026-03-01T02:05:00Z"}

    async def test_the_executions_own_watermark_wins(self, client: httpx.AsyncClient) -> None:
        pipeline_id = await make_pipeline(client, next_watermark="p-2")

        await end(client, await start(client, pipeline_id, next_watermark="e-9"))

        assert (await client.get(f"/pipeline/{pipeline_id}")).json()["watermark"] == "e-9"

    async def test_without_any_next_watermark_the_old_one_stays(self, client: httpx.AsyncClient) -> None:
        pipeline_id = await make_pipeline(client)
        await client.patch("/pipeline", json={"id": pipeline_id, "watermark": "kept"})

        await end(client, await start(client, pipeline_id))

        assert (await client.get(f"/pipeline/{pipeline_id}")).json()["watermark"] == "kept"

    async def test_a_late_report_of_an_old_run_does_not_turn_the_last_write_back(
        self, client: httpx.AsyncClient
    ) -> None:
        pipeline_id = await make_pipeline(client)
        old = await start(client, pipeline_id)
        await end(client, await start(client, pipeline_id), END + timedelta(days=1), inserts=1)

        await end(client, old, END, inserts=1)

        assert (await client.get(f"/pipeline/{pipeline_id}")).json()["last_target_insert"] == "2026-03-02T02:05:00Z"

    async def test_a_date_in_the_future_does_not_stay_for_ever(self, client: httpx.AsyncClient) -> None:
        pipeline_id = await make_pipeline(client)
        mistaken = datetime(9999, 12, 31, tzinfo=UTC)
        await end(client, await start(client, pipeline_id), mistaken, updates=1)

        await end(client, await start(client, pipeline_id), END, updates=1)

        assert (await client.get(f"/pipeline/{pipeline_id}")).json()["last_target_update"] == "2026-03-01T02:05:00Z"

    async def test_it_triggers_detection_once(self, client: httpx.AsyncClient, engine: Engine) -> None:
        pipeline_id = await make_pipeline(client)
        await make_rule(client, pipeline_id)
        execution_id = await start(client, pipeline_id)

        answers = [await end(client, execution_id, inserts=3) for _ in range(3)]

        assert [answer.status_code for answer in answers] == [204, 204, 204]
        kwargs = {"pipeline_id": pipeline_id, "pipeline_execution_id": execution_id}
        assert outbox(engine) == [("detect_anomalies_task", kwargs)]

    async def test_it_queues_nothing_where_no_active_rule_judges_it(
        self, client: httpx.AsyncClient, engine: Engine
    ) -> None:
        pipeline_id = await make_pipeline(client)
        rule_id = await make_rule(client, pipeline_id)
        assert (await client.patch("/anomaly_detection_rule", json={"id": rule_id, "active": False})).is_success
        await make_rule(client, await make_pipeline(client, "customers"))

        assert (await end(client, await start(client, pipeline_id), inserts=3)).status_code == 204

        assert outbox(engine) == []


async def test_a_failure_is_judged_as_such_and_moves_nothing(client: httpx.AsyncClient, engine: Engine) -> None:
    pipeline_id = await make_pipeline(client, next_watermark="p-2")

    execution_id = await start(client, pipeline_id)
    await end(client, execution_id, success=False, inserts=5)

    pipeline = (await client.get(f"/pipeline/{pipeline_id}")).json()
    assert (pipeline["watermark"], pipeline["last_target_insert"], pipeline["load_lineage"]) == (
        None,
        None,
        True,
    )
    judged = {"pipeline_id": pipeline_id, "pipeline_execution_id": execution_id}
    assert outbox(engine) == [("judge_failure_task", judged)]


@pytest.mark.parametrize(
    "other",
    [
        {"inserts": 4},
        {"updates": 1},
        {"soft_deletes": 1},
        {"total_rows": 1},
        {"success": False},
        {"execution_metadata": {}},
        {"at": START + timedelta(hours=1)},
    ],
)
async def test_a_different_end_is_409(client: httpx.AsyncClient, other: dict[str, Any]) -> None:
    execution_id = await start(client, await make_pipeline(client))
    await end(client, execution_id, inserts=3)

    assert (await end(client, execution_id, **{"inserts": 3, **other})).status_code == 409


async def test_ten_ends_at_once_count_once(client: httpx.AsyncClient, engine: Engine) -> None:
    pipeline_id = await make_pipeline(client)
    await make_rule(client, pipeline_id)
    execution_id = await start(client, pipeline_id)

    answers = await asyncio.gather(*(end(client, execution_id, inserts=3) for _ in range(10)))

    assert {answer.status_code for answer in answers} == {204}
    assert len(outbox(engine)) == 1


class TestTree:
    """Parents and children."""

    async def test_children_come_nested_and_by_id(self, client: httpx.AsyncClient) -> None:
        pipeline_id = await make_pipeline(client)
        root = await start(client, pipeline_id)
        first = await start(client, pipeline_id, parent_id=root)
        second = await start(client, pipeline_id, parent_execution_id=root)
        grandchild = await start(client, pipeline_id, parent_id=first)

        tree = (await client.get(f"/pipeline_execution/{root}")).json()

        assert [child["id"] for child in tree["child_executions"]] == [first, second]
        assert [child["id"] for child in tree["child_executions"][0]["child_executions"]] == [grandchild]
        assert tree["child_executions"][1]["parent_id"] == root

    async def test_a_chain_longer_than_a_recursion_is_read(self, client: httpx.AsyncClient, engine: Engine) -> None:
        await make_pipeline(client)
        with engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO pipeline_execution (pipeline_id, parent_id, start_date, date_recorded, hour_recorded)"
                    " SELECT 1, nullif(n - 1, 0), now(), current_date, 0 FROM generate_series(1, 3000) AS n"
                )
            )

        answer = await client.get("/pipeline_execution/1")

        assert answer.status_code == 200
        assert answer.text.count('"child_executions"') == 3000

    async def test_a_child_has_its_closure_maintained(self, client: httpx.AsyncClient, engine: Engine) -> None:
        pipeline_id = await make_pipeline(client)
        root = await start(client, pipeline_id)
        child = await start(client, pipeline_id, parent_id=root)

        kwargs = {"execution_id": child, "parent_id": root}
        assert outbox(engine) == [("pipeline_execution_closure_maintain_task", kwargs)]


async def test_lists_are_pages_by_id_and_filtered(client: httpx.AsyncClient) -> None:
    one, other = await make_pipeline(client), await make_pipeline(client, "other")
    root = await start(client, one)
    child = await start(client, one, parent_id=root)
    elsewhere = await start(client, other)
    await end(client, child, success=False)

    async def ids(**query: Any) -> list[int]:
        return [run["id"] for run in (await client.get("/pipeline_execution", params=query)).json()]

    assert await ids() == [root, child, elsewhere]
    assert await ids(newest_first=True, limit=1) == [elsewhere]
    assert await ids(offset=1, limit=1) == [child]
    assert await ids(pipeline_id=other) == [elsewhere]
    assert await ids(parent_id=root) == [child]
    assert await ids(running=True) == [root, elsewhere]
    assert await ids(completed_successfully=False) == [child]
    assert (await client.get("/pipeline_execution", params={"limit": 1001})).status_code == 422
