"""Anomaly detection rules over HTTP."""

import asyncio
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, update

from tests.conftest import MakeClient
from tests.support.factories import make_pipeline
from tests.support.rows import now
from watcher_server.anomalies.models import AnomalyDetectionRule

PATH = "/anomaly_detection_rule"
DEFAULTS: dict[str, Any] = {
    "z_threshold": 3.0,
    "alarms_per_month": None,
    "alarm_threshold": None,
    "lookback_days": 30,
    "minimum_executions": 30,
    "method": "zscore",
    "seasonality": "hour",
    "direction": "both",
    "minimum_std_percent": 1.0,
    "minimum_std": 1.0,
    "new_normal_after": 10,
    "normal_from": None,
    "normal_until": None,
    "holidays": [],
    "learning": True,
    "known_executions": 0,
    "state": "learning",
    "active": True,
    "updated_at": None,
}


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
        **DEFAULTS,
    }


NEW_FIELDS: dict[str, Any] = {
    "method": "mad",
    "seasonality": "hour_of_week",
    "direction": "low",
    "minimum_std_percent": 2.5,
    "minimum_std": 0.001,
    "new_normal_after": 5,
    "alarms_per_month": 0.5,
    "holidays": ["2026-12-24"],
}


async def test_every_setting_can_be_posted_and_patched(client: httpx.AsyncClient) -> None:
    pipeline_id = await make_pipeline(client)

    posted = (await post(client, pipeline_id, **NEW_FIELDS)).json()["id"]
    patched = (await post(client, pipeline_id, "updates")).json()["id"]
    answer = await client.patch(PATH, json={"id": patched, **NEW_FIELDS})

    assert answer.status_code == 200
    for rule in (answer.json(), (await client.get(f"{PATH}/{posted}")).json()):
        assert {field: rule[field] for field in NEW_FIELDS} == NEW_FIELDS


async def test_a_second_post_changes_the_settings_it_carries(client: httpx.AsyncClient) -> None:
    pipeline_id = await make_pipeline(client)
    rule_id = (await post(client, pipeline_id, **NEW_FIELDS)).json()["id"]

    await post(client, pipeline_id, method="zscore", new_normal_after=None)

    rule = (await client.get(f"{PATH}/{rule_id}")).json()
    changed = NEW_FIELDS | {"method": "zscore", "new_normal_after": None}
    assert {field: rule[field] for field in NEW_FIELDS} == changed


@pytest.mark.parametrize("method", ["zscore", "mad", "seasonal"])
@pytest.mark.parametrize("seasonality", ["hour", "none", "weekday", "hour_of_week"])
@pytest.mark.parametrize("direction", ["both", "high", "low"])
async def test_choices_are_trimmed_and_lower_cased(
    client: httpx.AsyncClient, method: str, seasonality: str, direction: str
) -> None:
    pipeline_id = await make_pipeline(client)
    choices = {"method": method, "seasonality": seasonality, "direction": direction}
    shouted = {field: f" {choice.upper()} " for field, choice in choices.items()}

    rule_id = (await post(client, pipeline_id, **shouted)).json()["id"]
    patched = (await client.patch(PATH, json={"id": rule_id, **shouted})).json()

    assert {field: patched[field] for field in choices} == choices


@pytest.mark.parametrize(
    "fields",
    [
        {"z_threshold": 1, "minimum_executions": 5, "lookback_days": 1, "new_normal_after": 2},
        {"z_threshold": 10, "minimum_executions": 1000, "lookback_days": 365, "new_normal_after": 1000},
        {"minimum_std_percent": 0, "minimum_std": 1e-9},
        {"minimum_std_percent": 100, "minimum_std": 1e18},
    ],
    ids=["least", "most", "least deviation", "greatest deviation"],
)
async def test_the_bounds_themselves_are_allowed(client: httpx.AsyncClient, fields: dict[str, Any]) -> None:
    pipeline_id = await make_pipeline(client)

    rule_id = (await post(client, pipeline_id, **fields)).json()["id"]
    patched = await client.patch(PATH, json={"id": rule_id, **fields})

    assert patched.status_code == 200
    assert {field: patched.json()[field] for field in fields} == fields


async def test_a_patch_of_null_turns_off_what_can_be_off(client: httpx.AsyncClient) -> None:
    rule_id = (await post(client, await make_pipeline(client))).json()["id"]
    await client.patch(PATH, json={"id": rule_id, "normal_from": "2026-03-01T00:00:00"})

    patched = await client.patch(PATH, json={"id": rule_id, "new_normal_after": None, "normal_from": None})

    rule = patched.json()
    assert (rule["new_normal_after"], rule["normal_from"], rule["normal_until"]) == (None, None, None)


@pytest.mark.parametrize("field", ["metric_field", "pipeline_id"])
async def test_a_rule_for_another_series_forgets_what_was_accepted(
    client: httpx.AsyncClient, engine: Engine, field: str
) -> None:
    pipeline_id = await make_pipeline(client)
    rule_id = (await post(client, pipeline_id)).json()["id"]
    other = await make_pipeline(client, "customers")
    with engine.begin() as connection:
        connection.execute(update(AnomalyDetectionRule).values(learning=False, normal_from=now(), normal_until=now()))

    same = await client.patch(PATH, json={"id": rule_id, "metric_field": "inserts", "pipeline_id": pipeline_id})
    moved = await client.patch(PATH, json={"id": rule_id, field: other if field == "pipeline_id" else "updates"})

    assert (same.json()["learning"], same.json()["normal_from"] is None) == (False, False)
    rule = moved.json()
    assert (rule["learning"], rule["normal_from"], rule["normal_until"]) == (True, None, None)


async def test_rules_that_a_new_pipeline_brings_have_the_defaults(make_client: MakeClient) -> None:
    async with make_client(auto_create_anomaly_detection_rules=True) as client:
        pipeline_id = await make_pipeline(client)
        brought = (await client.get(PATH)).json()
        other = await make_pipeline(client, "customers")
        # Posting finds the rule that came with the pipeline.
        assert (await post(client, other)).status_code == 200

    named = {"id", "metric_field", "created_at"}
    settings = [{field: value for field, value in rule.items() if field not in named} for rule in brought]
    assert settings == [{"pipeline_id": pipeline_id, **DEFAULTS}] * 6


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
        {"method": "median"},
        {"method": ""},
        {"method": None},
        {"method": 1},
        {"seasonality": "day"},
        {"seasonality": None},
        {"direction": "up"},
        {"direction": None},
        {"direction": ["low"]},
        {"minimum_std_percent": -0.1},
        {"minimum_std_percent": 100.1},
        {"minimum_std_percent": None},
        {"minimum_std": 0},
        {"minimum_std": -1},
        {"minimum_std": 1e19},
        {"minimum_std": None},
        {"new_normal_after": 1},
        {"new_normal_after": 1001},
        {"new_normal_after": 2.5},
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


@pytest.mark.parametrize("field", ["z_threshold", "minimum_std", "minimum_std_percent"])
@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400"])
async def test_what_is_no_finite_number_is_refused(client: httpx.AsyncClient, field: str, number: str) -> None:
    pipeline_id = await make_pipeline(client)
    rule_id = (await post(client, pipeline_id)).json()["id"]
    headers = {"Content-Type": "application/json"}

    posted = f'{{"pipeline_id": {pipeline_id}, "metric_field": "updates", "{field}": {number}}}'
    patched = f'{{"id": {rule_id}, "{field}": {number}}}'

    assert (await client.post(PATH, content=posted, headers=headers)).status_code == 422
    assert (await client.patch(PATH, content=patched, headers=headers)).status_code == 422


@pytest.mark.parametrize("moment", ["soon", 1e30, "0000-01-01", [], "2026-13-01T00:00:00Z"])
async def test_normal_from_is_a_moment(client: httpx.AsyncClient, moment: Any) -> None:
    rule_id = (await post(client, await make_pipeline(client))).json()["id"]

    assert (await client.patch(PATH, json={"id": rule_id, "normal_from": moment})).status_code == 422


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
