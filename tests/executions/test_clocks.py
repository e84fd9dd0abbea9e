"""Runs of clocks that are wrong."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.support.factories import end, make_pipeline, start


def _from_now(**ahead: float) -> datetime:
    return datetime.now(UTC) + timedelta(**ahead)


def _stored(engine: Engine) -> Any:
    columns = "start_date <= now() AS began, end_date <= now() AS ended, end_date >= start_date AS ordered"
    with engine.connect() as connection:
        return connection.execute(text(f"SELECT {columns}, date_recorded FROM pipeline_execution")).one()


async def test_a_run_of_a_clock_that_is_ahead_counts_from_now_on(client: httpx.AsyncClient, engine: Engine) -> None:
    execution_id = await start(client, await make_pipeline(client), _from_now(hours=5))
    answer = await end(client, execution_id, _from_now(hours=5, minutes=10), total_rows=1200)

    assert answer.status_code == 204
    stored = _stored(engine)
    assert (stored.began, stored.ended, stored.ordered) == (True, True, True)


async def test_the_difference_of_two_dates_of_one_clock_is_the_duration(client: httpx.AsyncClient) -> None:
    at = _from_now(hours=5)
    execution_id = await start(client, await make_pipeline(client), at)
    await end(client, execution_id, at + timedelta(minutes=10), total_rows=1200)

    run = (await client.get(f"/pipeline_execution/{execution_id}")).json()
    assert (run["duration_seconds"], run["throughput"]) == (600, 2)


async def test_its_dates_are_shown_as_they_were_sent_and_how_far_ahead_they_were(client: httpx.AsyncClient) -> None:
    at = _from_now(hours=5)
    execution_id = await start(client, await make_pipeline(client), at)
    await end(client, execution_id, at + timedelta(seconds=1.25))

    one = (await client.get(f"/pipeline_execution/{execution_id}")).json()
    (listed,) = (await client.get("/pipeline_execution")).json()
    for run in (one, listed):
        assert datetime.fromisoformat(run["start_date"]) == at
        assert datetime.fromisoformat(run["end_date"]) == at + timedelta(seconds=1.25)
        assert run["clock_skew_seconds"] == pytest.approx(5 * 3600, abs=60)
        assert run["duration_ms"] == 1250


async def test_the_page_of_the_run_says_how_far_ahead_its_clock_is(client: httpx.AsyncClient) -> None:
    at = _from_now(hours=5)
    execution_id = await start(client, await make_pipeline(client), at)
    await end(client, execution_id, at + timedelta(seconds=0.34))

    page = (await client.get(f"/ui/executions/{execution_id}")).text
    runs = (await client.get("/ui/pipelines/1?tab=runs")).text

    assert re.search(r"its clock is (5h|4h 59m) ahead", page)
    assert f"{at:%Y-%m-%d %H:%M:%S} UTC" in page
    assert "340 ms" in page
    assert "340 ms" in runs


async def test_the_page_of_a_right_clock_says_nothing_of_it(client: httpx.AsyncClient) -> None:
    execution_id = await start(client, await make_pipeline(client), _from_now(seconds=-5))

    assert "its clock" not in (await client.get(f"/ui/executions/{execution_id}")).text


async def test_an_end_without_a_date_never_fails_for_the_clock_of_the_start(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    """A start nine hours ahead, as a local time of Tokyo without its offset is."""
    execution_id = await start(client, await make_pipeline(client), _from_now(hours=9).replace(tzinfo=None))
    body = {"id": execution_id, "completed_successfully": True, "total_rows": 10}

    answers = [await client.post("/end_pipeline_execution", json=body) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [204, 204]
    run = (await client.get(f"/pipeline_execution/{execution_id}")).json()
    assert (run["duration_seconds"], run["throughput"]) == (None, None)
    assert _stored(engine).ordered


async def test_an_end_before_the_start_as_it_was_sent_is_refused(client: httpx.AsyncClient) -> None:
    execution_id = await start(client, await make_pipeline(client), _from_now(hours=9))

    answer = await end(client, execution_id, _from_now(hours=8))

    assert answer.status_code == 400
    assert "end_date must be greater than start_date" in answer.json()["detail"]


async def test_a_start_more_than_a_day_ahead_is_refused_with_the_time_of_the_server(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    body = {"pipeline_id": await make_pipeline(client), "start_date": _from_now(days=1, minutes=5).isoformat()}

    answer = await client.post("/start_pipeline_execution", json=body)

    assert answer.status_code == 422
    assert f"{datetime.now(UTC):%Y-%m-%dT%H:}" in answer.json()["detail"][0]["msg"]
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM pipeline_execution")) == 0


async def test_an_end_more_than_a_day_ahead_is_refused_and_the_run_goes_on(client: httpx.AsyncClient) -> None:
    execution_id = await start(client, await make_pipeline(client))

    answer = await end(client, execution_id, datetime(9999, 1, 1, tzinfo=UTC))

    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", "end_date"])
    assert (await client.get(f"/pipeline_execution/{execution_id}")).json()["end_date"] is None


async def test_the_same_end_of_a_clock_that_is_ahead_may_be_sent_again(client: httpx.AsyncClient) -> None:
    at = _from_now(hours=5)
    execution_id = await start(client, await make_pipeline(client), at)

    answers = [await end(client, execution_id, at + timedelta(minutes=1)) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [204, 204]
    assert (await end(client, execution_id, at + timedelta(minutes=2))).status_code == 409


@pytest.mark.parametrize("field", ["start_date", "end_date"])
async def test_a_ping_with_a_date_more_than_a_day_ahead_is_refused(client: httpx.AsyncClient, field: str) -> None:
    await make_pipeline(client)
    url = (await client.get("/pipeline/1")).json()["ping_url"]
    body = {field: _from_now(days=2).isoformat()}

    answers = [await client.post(f"{url}{signal}", json=body) for signal in ("/start", "")]

    assert [answer.status_code for answer in answers] == [422, 422]
    assert "ahead of the server's time" in answers[0].text
    assert (await client.get("/pipeline_execution")).json() == []


async def test_pings_of_a_clock_that_is_ahead_count_from_now_on(client: httpx.AsyncClient, engine: Engine) -> None:
    await make_pipeline(client)
    url = (await client.get("/pipeline/1")).json()["ping_url"]
    at = _from_now(hours=5)

    await client.post(f"{url}/start", json={"start_date": at.isoformat()})
    await client.post(url, json={"end_date": (at + timedelta(minutes=10)).isoformat()})

    stored = _stored(engine)
    assert (stored.began, stored.ended, stored.ordered) == (True, True, True)
    assert (await client.get("/pipeline_execution/1")).json()["duration_seconds"] == 600


async def test_a_ping_that_tells_a_whole_run_of_such_a_clock_keeps_how_long_it_took(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    await make_pipeline(client)
    url = (await client.get("/pipeline/1")).json()["ping_url"]
    end_date = _from_now(hours=1)

    sent = {"start_date": (end_date - timedelta(hours=3)).isoformat(), "end_date": end_date.isoformat()}
    await client.post(url, json=sent)

    run = (await client.get("/pipeline_execution/1")).json()
    assert (run["duration_seconds"], run["duration_ms"]) == (10_800, 10_800_000)
    assert datetime.fromisoformat(run["end_date"]) == end_date
    assert _stored(engine).ended


async def test_a_ping_without_a_date_ends_a_run_that_began_ahead(client: httpx.AsyncClient, engine: Engine) -> None:
    await make_pipeline(client)
    url = (await client.get("/pipeline/1")).json()["ping_url"]
    await client.post(f"{url}/start", json={"start_date": _from_now(hours=5).isoformat()})

    await client.post(url)

    assert _stored(engine).ordered
    assert (await client.get("/pipeline_execution/1")).json()["duration_seconds"] is None


async def test_the_diagnosis_says_how_many_clocks_are_ahead(client: httpx.AsyncClient) -> None:
    await start(client, await make_pipeline(client), _from_now(hours=5))

    report = (await client.get("/diagnostics/report.txt")).text

    assert re.search(r"Clocks of clients: .*1 pipeline, ahead by (5h|4h 59m) at most", report)
