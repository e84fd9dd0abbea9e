"""Anomaly detection rules over HTTP."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.support.factories import make_pipeline

PATH = "/anomaly_detection_rule"


async def post(client: httpx.AsyncClient, pipeline_id: int, metric: str = "inserts", **fields: Any) -> httpx.Response:
    return await client.post(PATH, json={"pipeline_id": pipeline_id, "metric_field": metric, **fields})


async def test_a_new_rule_has_the_defaults(client: httpx.AsyncClient) -> None:
    pipeline_id = await make_pipeline(client)

    created = await post(client, pipeline_id)

    assert created.status_code == 201
    rule = (await client.get(f"{PATH}/{created.json()['id']}")).json()
    assert rule.pop("created_at")
    assert rule == {
        "id": created.json()["id"],
        "pipeline_id": pipeline_id,
        "metric_field": "inserts",
        "z_threshold": 3.0,
        "lookback_days": 30,
        "minimum_executions": 30,
        "active": True,
        "updated_at": None,
    }


async def test_a_second_post_changes_only_what_it_carries(client: httpx.AsyncClient) -> None:
    pipeline_id = await make_pipeline(client)
    rule_id = (await post(client, pipeline_id, lookback_days=60, z_threshold=2.5)).json()["id"]

    again = await post(client, pipeline_id, " INSERTS ", lookback_days=90)

    assert (again.status_code, again.json()) == (200, {"id": rule_id})
    rule = (await client.get(f"{PATH}/{rule_id}")).json()
    assert (rule["lookback_days"], rule["z_threshold"]) == (90, 2.5)
    assert rule["updated_at"] is not None


async def test_a_second_post_that_changes_nothing_writes_nothing(client: httpx.AsyncClient) -> None:
    pipeline_id = await make_pipeline(client)
    rule_id = (await post(client, pipeline_id, lookback_days=60)).json()["id"]

    assert (await post(client, pipeline_id, lookback_days=60)).status_code == 200

    assert (await client.get(f"{PATH}/{rule_id}")).json()["updated_at"] is None


async def test_concurrent_posts_of_one_rule_create_it_once(client: httpx.AsyncClient) -> None:
    pipeline_id = await make_pipeline(client)

    answers = await asyncio.gather(*(post(client, pipeline_id) for _ in range(20)))

    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"z_threshold": 0.99},
        {"z_threshold": 10.01},
        {"z_threshold": None},
        {"lookback_days": 0},
        {"lookback_days": 366},
        {"lookback_days": None},
        {"minimum_executions": 4},
        {"minimum_executions": 1001},
        {"minimum_executions": None},
        {"active": None},
        {"metric_field": "rows"},
        {"metric_field": None},
        {"metric_field": "inserts\x00"},
        {"pipeline_id": 2**63},
        {"pipeline_id": None},
    ],
)
async def test_what_cannot_be_is_refused(client: httpx.AsyncClient, fields: dict[str, Any]) -> None:
    pipeline_id = await make_pipeline(client)
    body = {"pipeline_id": pipeline_id, "metric_field": "inserts", **fields}
    rule_id = (await post(client, pipeline_id, "updates")).json()["id"]

    assert (await client.post(PATH, json=body)).status_code == 422
    assert (await client.patch(PATH, json={"id": rule_id, **fields})).status_code == 422


@pytest.mark.parametrize("unknown", [2**62, 0, -1])
async def test_an_unknown_pipeline_is_a_404(client: httpx.AsyncClient, unknown: int) -> None:
    rule_id = (await post(client, await make_pipeline(client))).json()["id"]

    answer = await post(client, unknown)
    patched = await client.patch(PATH, json={"id": rule_id, "pipeline_id": unknown})

    assert answer.status_code == patched.status_code == 404
    assert answer.json() == patched.json() == {"detail": f"No pipeline has the id {unknown}."}


async def test_a_patch_changes_what_it_carries_and_answers_the_whole_rule(client: httpx.AsyncClient) -> None:
    pipeline_id = await make_pipeline(client)
    rule_id = (await post(client, pipeline_id, lookback_days=60)).json()["id"]

    patched = await client.patch(PATH, json={"id": rule_id, "metric_field": "Updates", "active": False})

    assert patched.status_code == 200
    rule = patched.json()
    assert (rule["metric_field"], rule["active"], rule["lookback_days"]) == ("updates", False, 60)
    assert rule["updated_at"] is not None


async def test_a_patch_onto_another_rule_is_a_conflict(client: httpx.AsyncClient) -> None:
    pipeline_id = await make_pipeline(client)
    await post(client, pipeline_id, "inserts")
    rule_id = (await post(client, pipeline_id, "updates")).json()["id"]

    patched = await client.patch(PATH, json={"id": rule_id, "metric_field": "inserts"})

    assert patched.status_code == 409
    assert patched.json() == {"detail": "Another rule has that pipeline_id and metric_field already."}


async def test_an_unknown_rule_is_a_404_and_a_patch_needs_an_id(client: httpx.AsyncClient) -> None:
    assert (await client.get(f"{PATH}/7")).status_code == 404
    assert (await client.patch(PATH, json={"id": 7})).status_code == 404
    assert (await client.patch(PATH, json={"active": True})).status_code == 422


async def test_lists_are_filtered_and_paged_by_id(client: httpx.AsyncClient) -> None:
    first, second = await make_pipeline(client, "one"), await make_pipeline(client, "two")
    for pipeline_id in (first, second):
        for metric in ("inserts", "updates"):
            await post(client, pipeline_id, metric, active=metric == "inserts")

    async def listed(**query: Any) -> list[tuple[int, str]]:
        rules = (await client.get(PATH, params=query)).json()
        return [(rule["pipeline_id"], rule["metric_field"]) for rule in rules]

    everything = [(first, "inserts"), (first, "updates"), (second, "inserts"), (second, "updates")]
    assert await listed() == everything
    assert await listed(pipeline_id=second) == everything[2:]
    assert await listed(metric_field="UPDATES") == everything[1::2]
    assert await listed(active=True) == everything[::2]
    assert await listed(limit=2, offset=1) == everything[1:3]
