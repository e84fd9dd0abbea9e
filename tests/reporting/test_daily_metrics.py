"""What the pipelines did, day by day."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from tests.reporting.model import PATH, noon
from tests.support.rows import add_pipeline, add_run, add_type

BIGINT_MAX = 2**63 - 1


def _run(engine: Engine, pipeline_id: int, days_ago: int = 1, seconds: int = 100, **fields: Any) -> None:
    start = noon(days_ago)
    values = {"end_date": start + timedelta(seconds=seconds), "duration_seconds": seconds, **fields}
    with engine.begin() as connection:
        add_run(connection, pipeline_id, start_date=start, **values)


def _pipeline(engine: Engine, name: str = "orders", type_name: str = "extraction") -> int:
    with engine.begin() as connection:
        add_type(connection, type_name)
        return add_pipeline(connection, name, type_fields={"name": type_name})


async def _report(client: httpx.AsyncClient, **query: Any) -> dict[str, Any]:
    answer = await client.get(PATH, params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_a_day_of_a_pipeline_is_one_row(client: httpx.AsyncClient, engine: Engine) -> None:
    pipeline = _pipeline(engine)
    _run(engine, pipeline, inserts=10, updates=5, soft_deletes=1, total_rows=16)
    _run(engine, pipeline, seconds=50, inserts=4, total_rows=4)
    _run(engine, pipeline, seconds=51, completed_successfully=False)
    _run(engine, pipeline, end_date=None, duration_seconds=None)

    report = await _report(client)

    assert report["data"] == [
        {
            "date_recorded": noon(1).date().isoformat(),
            "pipeline_name": "orders",
            "pipeline_type_name": "extraction",
            "total_executions": 4,
            "failed_executions": 1,
            "error_percentage": 33.33,
            "daily_inserts": 14,
            "daily_updates": 5,
            "daily_soft_deletes": 1,
            "daily_total_rows": 20,
            "avg_duration_seconds": 67.0,
            "daily_throughput": 0.0995,
        }
    ]
    assert report["pagination"] == {
        "page": 1,
        "page_size": 50,
        "total_records": 1,
        "total_pages": 1,
        "has_next": False,
        "has_prev": False,
    }


async def test_what_only_runs_has_no_duration_and_no_errors(client: httpx.AsyncClient, engine: Engine) -> None:
    _run(engine, _pipeline(engine), end_date=None, duration_seconds=None)
    (day,) = (await _report(client))["data"]
    assert (day["total_executions"], day["failed_executions"], day["error_percentage"]) == (1, 0, 0)
    assert (day["avg_duration_seconds"], day["daily_throughput"], day["daily_total_rows"]) == (None, None, 0)


async def test_rows_in_no_time_have_no_throughput_to_speak_of(client: httpx.AsyncClient, engine: Engine) -> None:
    _run(engine, _pipeline(engine), seconds=0, total_rows=7)
    (day,) = (await _report(client))["data"]
    assert day["daily_throughput"] == 0


async def test_sums_beyond_64_bits_stay_exact(client: httpx.AsyncClient, engine: Engine) -> None:
    pipeline = _pipeline(engine)
    for _ in range(3):
        _run(engine, pipeline, inserts=BIGINT_MAX, total_rows=BIGINT_MAX)
    (day,) = (await _report(client))["data"]
    assert day["daily_inserts"] == day["daily_total_rows"] == 3 * BIGINT_MAX


async def test_newest_day_first_then_by_name_page_by_page(client: httpx.AsyncClient, engine: Engine) -> None:
    for name in ("b", "a"):
        pipeline = _pipeline(engine, name)
        for days_ago in (2, 1, 0):
            _run(engine, pipeline, days_ago)

    pages = [await _report(client, page=page, page_size=4) for page in (1, 2, 3)]

    found = [(row["date_recorded"], row["pipeline_name"]) for page in pages for row in page["data"]]
    days = [noon(days_ago).date().isoformat() for days_ago in (0, 1, 2)]
    assert found == [(day, name) for day in days for name in ("a", "b")]
    assert [(page["pagination"]["has_prev"], page["pagination"]["has_next"]) for page in pages] == [
        (False, True),
        (True, False),
        (True, False),
    ]
    assert {page["pagination"]["total_records"] for page in pages} == {6}
    assert pages[2]["pagination"]["total_pages"] == 2


async def test_what_claims_to_start_after_today_is_not_shown(client: httpx.AsyncClient, engine: Engine) -> None:
    pipeline = _pipeline(engine)
    for days_ago in (0, -1, -10_000):
        _run(engine, pipeline, days_ago)
    days = [row["date_recorded"] for row in (await _report(client))["data"]]
    assert days == [noon(0).date().isoformat()]


async def test_days_are_whole_days_up_to_today(client: httpx.AsyncClient, engine: Engine) -> None:
    pipeline = _pipeline(engine)
    for days_ago in (0, 1, 29, 30):
        _run(engine, pipeline, days_ago)
    assert len((await _report(client, days=1))["data"]) == 1
    assert len((await _report(client, days=2))["data"]) == 2
    assert len((await _report(client))["data"]) == 3


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"pipeline_name": " Orders "}, ["orders"]),
        ({"pipeline_name": "order"}, ["orders", "orders_daily"]),
        ({"pipeline_name": "_"}, ["orders_daily"]),
        ({"pipeline_name": "%"}, []),
        ({"pipeline_name": ""}, ["flights", "orders", "orders_daily"]),
        ({"pipeline_type_name": "load"}, ["flights"]),
        ({"pipeline_type_name": "extract"}, ["orders", "orders_daily"]),
        ({"pipeline_type_name": "load", "pipeline_name": "orders"}, []),
    ],
)
async def test_a_filter_is_a_whole_name_or_a_part_of_one(
    client: httpx.AsyncClient, engine: Engine, query: dict[str, str], expected: list[str]
) -> None:
    for name, type_name in (("orders", "extraction"), ("orders_daily", "extraction"), ("flights", "load")):
        _run(engine, _pipeline(engine, name, type_name))
    report = await _report(client, **query)
    assert [row["pipeline_name"] for row in report["data"]] == expected
    assert report["pagination"]["total_records"] == len(expected)


@pytest.mark.parametrize(
    "query",
    ["page=0", "page=99999999999999999999", "page_size=1001", "days=31", "days=0", "page=x", "pipeline_name=%00"],
)
async def test_what_is_out_of_bounds_is_422(client: httpx.AsyncClient, query: str) -> None:
    assert (await client.get(f"{PATH}?{query}")).status_code == 422


async def test_an_empty_watcher_has_an_empty_report(client: httpx.AsyncClient) -> None:
    report = await _report(client, page=2_147_483_647, page_size=1000)
    assert report["data"] == []
    assert report["pagination"]["total_pages"] == 0


async def test_names_are_lists_and_refreshing_is_accepted(client: httpx.AsyncClient, engine: Engine) -> None:
    _pipeline(engine, "b", "load")
    _pipeline(engine, "a", "extraction")
    assert (await client.get("/reporting/pipeline-names")).json() == ["a", "b"]
    assert (await client.get("/reporting/pipeline-type-names")).json() == ["extraction", "load"]
    assert (await client.post("/reporting/refresh")).json()["status"] == "success"
