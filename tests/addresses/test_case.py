"""Addresses whose names differ by case, as keys of object stores do."""

from typing import Any

import httpx
import pytest

from tests.support.factories import make_pipeline

KEY = {"address_type_name": "s3", "address_type_group_name": "file"}


async def _post(client: httpx.AsyncClient, name: str, **fields: Any) -> int:
    answer = await client.post("/address", json={**KEY, "name": name, **fields})
    assert answer.status_code in {200, 201}, answer.text
    return int(answer.json()["id"])


async def test_the_first_address_of_a_type_makes_it_case_sensitive(client: httpx.AsyncClient) -> None:
    upper = await _post(client, "s3://Bucket/Key", address_type_case_sensitive=True)
    lower = await _post(client, "s3://bucket/key")

    assert upper != lower == await _post(client, "s3://bucket/key")
    assert upper == await _post(client, " s3://Bucket/Key ")
    found = (await client.get("/address", params={"name": "bucket/K"})).json()
    assert [address["name"] for address in found] == ["s3://Bucket/Key", "s3://bucket/key"]
    by_name = await client.patch("/address", json={"name": "s3://Bucket/Key", "primary_key": "id"})
    assert by_name.json()["id"] == upper


async def test_a_type_folds_names_unless_it_was_said_to_keep_them(client: httpx.AsyncClient) -> None:
    assert await _post(client, "s3://Bucket/Key") == await _post(client, "S3://bucket/KEY")
    await _post(client, "s3://x", address_type_case_sensitive=True)

    address = (await client.get("/address/1")).json()
    assert (address["name"], address["display_name"]) == ("s3://bucket/key", "s3://Bucket/Key")
    assert (await client.get("/address_type/1")).json()["case_sensitive"] is False


async def test_addresses_get_their_spelling_as_name_when_their_type_gets_case_sensitive(
    client: httpx.AsyncClient,
) -> None:
    first = await _post(client, "s3://Bucket/Key")
    turned_on = await client.patch("/address_type", json={"name": "s3", "case_sensitive": True})

    assert turned_on.json()["case_sensitive"] is True
    assert await _post(client, "s3://Bucket/Key") == first
    assert await _post(client, "s3://bucket/key") != first
    turned_off = await client.post("/address_type", json={"name": "s3", "group_name": "file", "case_sensitive": False})
    assert (turned_off.status_code, "rename them first" in turned_off.json()["detail"]) == (409, True)


@pytest.mark.parametrize("group", ["database", "other"])
async def test_only_files_and_streams_differ_by_case(client: httpx.AsyncClient, group: str) -> None:
    await client.post("/address_type", json={"name": "t", "group_name": "file", "case_sensitive": True})
    kind = {"address_type_name": "u", "address_type_group_name": group, "address_type_case_sensitive": True}
    answers = [
        await client.post("/address", json={"name": "a", **kind}),
        await client.post("/address_type", json={"name": "u", "group_name": group, "case_sensitive": True}),
        await client.patch("/address_type", json={"name": "t", "group_name": group}),
    ]

    assert [answer.status_code for answer in answers] == [422] * 3
    assert all("file and stream" in answer.json()["detail"][0]["msg"] for answer in answers)
    assert [kind["name"] for kind in (await client.get("/address_type")).json()] == ["t"]


async def test_lineage_keeps_them_apart_too(client: httpx.AsyncClient) -> None:
    await make_pipeline(client)
    await client.post("/address_type", json={"name": "s3", "group_name": "file", "case_sensitive": True})
    body = {
        "pipeline_id": 1,
        "source_addresses": [{**KEY, "name": "In/a"}, {**KEY, "name": "in/a"}],
        "target_addresses": [{**KEY, "name": "Out"}],
    }

    answer = await client.post("/address_lineage", json=body)

    assert answer.json()["lineage_relationships_created"] == 2
    graph = (await client.get("/lineage-graph/", params={"source_address_id": 1})).json()
    assert {node["name"] for node in graph["nodes"]} <= {"In/a", "in/a", "Out"}
