"""Runs that load the past, or had nothing to do."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from tests.support.factories import START, end, make_pipeline, start

COUNTS: dict[str, Any] = {"inserts": 1, "updates": 1, "soft_deletes": 1, "total_rows": 3}


async def test_a_backfill_moves_neither_the_watermark_nor_the_last_write(client: httpx.AsyncClient) -> None:
    pipeline_id = await make_pipeline(client)
    await end(client, await start(client, pipeline_id, next_watermark="10"), **COUNTS)
    before = (await client.get(f"/pipeline/{pipeline_id}")).json()

    later = START + timedelta(days=1)
    run = await start(client, pipeline_id, later, next_watermark="3", backfill=True)
    await end(client, run, later + timedelta(hours=1), **COUNTS)

    after = (await client.get(f"/pipeline/{pipeline_id}")).json()
    fields = ("watermark", "last_target_insert", "last_target_update", "last_target_soft_delete")
    assert [after[name] for name in fields] == [before[name] for name in fields]
    assert (await client.get(f"/pipeline_execution/{run}")).json()["backfill"] is True


async def test_nor_does_one_that_pings(client: httpx.AsyncClient) -> None:
    await make_pipeline(client)
    url = (await client.get("/pipeline/1")).json()["ping_url"]

    await client.post(f"{url}/start", json={"backfill": True})
    await client.post(url, json={"watermark": "3", **COUNTS})
    await client.post(url, json={"watermark": "3", "backfill": True, **COUNTS})

    pipeline = (await client.get("/pipeline/1")).json()
    assert (pipeline["watermark"], pipeline["last_target_insert"]) == (None, None)


async def test_a_run_with_nothing_to_do_says_so(client: httpx.AsyncClient) -> None:
    run = await start(client, await make_pipeline(client))
    answers = [await end(client, run, nothing_to_do=True) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [204, 204]
    assert (await client.get(f"/pipeline_execution/{run}")).json()["nothing_to_do"] is True
    assert (await end(client, run)).status_code == 409


async def test_so_does_one_that_pings(client: httpx.AsyncClient) -> None:
    await make_pipeline(client)
    url = (await client.get("/pipeline/1")).json()["ping_url"]

    await client.get(f"{url}/start")
    for _ in range(2):
        await client.post(url, json={"nothing_to_do": True})

    assert [run["nothing_to_do"] for run in (await client.get("/pipeline_execution")).json()] == [True, True]


@pytest.mark.parametrize("total_rows", [1_234_567])
async def test_rows_in_less_than_a_second_have_a_throughput(client: httpx.AsyncClient, total_rows: int) -> None:
    run = await start(client, await make_pipeline(client))
    await end(client, run, START + timedelta(milliseconds=250), total_rows=total_rows)

    stored: dict[str, Any] = (await client.get(f"/pipeline_execution/{run}")).json()
    assert (stored["throughput"], stored["duration_seconds"], stored["duration_ms"]) == (4 * total_rows, 0, 250)
