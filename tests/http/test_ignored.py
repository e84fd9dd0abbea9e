"""Fields that nobody knows are ignored, and whoever misspelt one finds it."""

from typing import Any

import httpx
import pytest

from tests.support.factories import make_pipeline

ADDRESS = {"name": "a", "address_type_name": "t", "address_type_group_name": "g"}


@pytest.mark.parametrize(
    ("method", "path", "body", "ignored"),
    [
        ("POST", "/pipeline", {"name": "orders", "pipeline_type_name": "t", "freshnes_number": 1}, ["freshnes_number"]),
        ("PATCH", "/pipeline", {"pipeline_id": 1, "mute_until_": 1, "activ": False}, ["mute_until_", "activ"]),
        ("POST", "/pipeline_type", {"name": "t", "mute": True}, ["mute"]),
        ("PATCH", "/pipeline_type", {"id": 1, "mute": True}, ["mute"]),
        ("POST", "/address", ADDRESS | {"shema_name": "s"}, ["shema_name"]),
        ("POST", "/anomaly_detection_rule", {"pipeline_id": 1, "metric_field": "inserts", "z": 2}, ["z"]),
        (
            "POST",
            "/address_lineage",
            {
                "pipeline_id": 1,
                "source_addresses": [ADDRESS | {"x": 1}, ADDRESS | {"x": 2}],
                "target_addresses": [ADDRESS],
            },
            ["source_addresses.x"],
        ),
    ],
)
async def test_the_answer_names_what_was_ignored_of_the_request(
    client: httpx.AsyncClient, method: str, path: str, body: dict[str, Any], ignored: list[str]
) -> None:
    await make_pipeline(client)

    answer = await client.request(method, path, json=body)

    assert answer.status_code in {200, 201}, answer.text
    assert answer.json()["ignored"] == ignored
    assert f'watcher_requests_with_ignored_fields_total{{path="{path}"}} 1.0' in (await client.get("/metrics")).text


async def test_a_request_with_known_fields_has_the_answer_that_it_always_had(client: httpx.AsyncClient) -> None:
    body = {"name": "p", "pipeline_type_name": "t", "pipeline_metadata": {"anything": {"mute_until_": 1}}}

    answer = await client.post("/pipeline", json=body)

    assert answer.json() == {"id": 1, "active": True, "load_lineage": True, "watermark": None}
    assert "ignored_fields_total{" not in (await client.get("/metrics")).text


async def test_a_refused_request_is_not_counted(client: httpx.AsyncClient) -> None:
    assert (await client.patch("/pipeline", json={"id": 1, "activ": False})).status_code == 404

    assert "ignored_fields_total{" not in (await client.get("/metrics")).text


async def test_many_unknown_fields_make_no_large_answer(client: httpx.AsyncClient) -> None:
    unknown = {f"{number}{'x' * 1000}": number for number in range(1000)}

    answer = await client.post("/pipeline_type", json={"name": "t", **unknown})

    assert (len(answer.json()["ignored"]), len(answer.content) < 2000) == (20, True)
