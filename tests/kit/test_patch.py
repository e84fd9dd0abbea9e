"""PATCH bodies in the API's reference."""

from typing import Any

import httpx
import pytest


async def _patch_bodies(client: httpx.AsyncClient) -> dict[str, dict[str, Any]]:
    reference = (await client.get("/openapi.json")).json()
    names = [
        operation["patch"]["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        for operation in reference["paths"].values()
        if "patch" in operation
    ]
    return {name: reference["components"]["schemas"][name] for name in names}


# What each names the thing to change by, if that is no choice.
REQUIRED: dict[str, list[str]] = {
    "PipelinePatch": [],
    "PipelineTypePatch": [],
    "AddressPatch": [],
    "AddressTypePatch": [],
    "RulePatch": ["id"],
    "IncidentPatch": ["version"],
    "IncidentsPatch": ["ids"],
}


async def test_no_field_of_a_patch_has_a_default(client: httpx.AsyncClient) -> None:
    bodies = await _patch_bodies(client)

    assert REQUIRED.keys() == bodies.keys()
    for name, body in bodies.items():
        defaults = [field for field, schema in body["properties"].items() if "default" in schema]
        assert (name, defaults) == (name, [])
        assert (name, body.get("required", [])) == (name, REQUIRED[name])


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/pipeline", "pipeline_type_id"),
        ("/pipeline_type", "mute_timeliness_check"),
        ("/address", "address_type_id"),
        ("/address_type", "group_name"),
        ("/anomaly_detection_rule", "metric_field"),
    ],
)
async def test_null_is_refused_where_absent_is_allowed(client: httpx.AsyncClient, path: str, field: str) -> None:
    refused = await client.patch(path, json={"id": 1, field: None})
    allowed = await client.patch(path, json={"id": 1})

    assert (refused.status_code, refused.json()["detail"][0]["loc"]) == (422, ["body", field])
    assert allowed.status_code == 404
