"""What is too much in a request is refused at once, with a short answer."""

import json
import tracemalloc
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, func, select

from watcher_server.addresses.models import Address
from watcher_server.database.metadata import METADATA_MAX_DEPTH
from watcher_server.http.body import MOST_FORM_FIELDS, MOST_VALUES
from watcher_server.settings import get_settings

LIMIT = 64 * 1024
MEBIBYTE = 1024 * 1024
ADDRESS = {"name": "a", "address_type_name": "t", "address_type_group_name": "g"}


async def _post_counted(client: httpx.AsyncClient, path: str, body: Any) -> tuple[httpx.Response, int]:
    """The answer, and the peak of memory in bytes that it took."""
    content = json.dumps(body).encode()
    tracemalloc.start()
    try:
        answer = await client.post(path, content=content, headers={"Content-Type": "application/json"})
        return answer, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("side", ["source_addresses", "target_addresses"])
@pytest.mark.parametrize("item", [{}, None, 1, ADDRESS])
async def test_a_long_list_of_addresses_is_refused_without_looking_at_each(
    client: httpx.AsyncClient, engine: Engine, side: str, item: Any
) -> None:
    body = {"pipeline_id": 1, "source_addresses": [ADDRESS], "target_addresses": [ADDRESS]} | {side: [item] * 100_000}
    answer, peak = await _post_counted(client, "/address_lineage", body)

    assert answer.status_code == 422
    assert len(answer.content) < 2_000
    # Parsed, the body itself takes half of that.
    assert peak < 64 * MEBIBYTE
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(Address)) == 0


async def test_a_list_says_how_long_it_may_be(client: httpx.AsyncClient) -> None:
    body = {"pipeline_id": 1, "source_addresses": [ADDRESS] * 10_001, "target_addresses": [ADDRESS]}
    (error,) = (await client.post("/address_lineage", json=body)).json()["detail"]

    assert error["loc"] == ["body", "source_addresses"]
    assert "at most 10000 items" in error["msg"]


async def test_the_first_wrong_address_is_named(client: httpx.AsyncClient) -> None:
    wrong = [ADDRESS, {**ADDRESS, "name": ""}, {}]
    body = {"pipeline_id": 1, "source_addresses": wrong, "target_addresses": [ADDRESS]}
    (error,) = (await client.post("/address_lineage", json=body)).json()["detail"]

    assert error["loc"] == ["body", "source_addresses", 1, "name"]


async def test_more_than_twenty_errors_are_counted(client: httpx.AsyncClient) -> None:
    query = "&".join(["selected=x"] * 45)
    answer = await client.get(f"/ui/pipelines?{query}", headers={"Accept": "application/json"})

    detail = answer.json()["detail"]
    assert answer.status_code == 422
    assert len(detail) == 21
    assert detail[-1] == {"loc": ["query"], "msg": "25 more errors are left out", "type": "too_many_errors"}


INGEST_PATHS = ["/start_pipeline_execution", "/end_pipeline_execution"]
NEST: list[Any] = [[[[[[[[[[]]]]]]]]]]


@pytest.mark.parametrize("path", [*INGEST_PATHS, "/pipeline", "/address_lineage", "/unflag_anomaly"])
@pytest.mark.parametrize(
    "values", [[[]] * (MOST_VALUES + 2), [{}] * (MOST_VALUES // 2 + 2), [NEST] * (MOST_VALUES // 10)]
)
async def test_a_body_of_too_many_values_is_not_parsed(client: httpx.AsyncClient, path: str, values: Any) -> None:
    answer, peak = await _post_counted(client, path, {"unknown": values})

    assert answer.status_code == 422
    assert answer.json()["detail"][0]["msg"] == f"The body has more than {MOST_VALUES} values"
    assert peak < 32 * MEBIBYTE


async def test_a_large_body_of_an_ingest_route_is_parsed_once_whatever_is_wrong(client: httpx.AsyncClient) -> None:
    # Parsing and validating at once would make the 12 MB of lists for each of the three errors.
    answer, peak = await _post_counted(client, "/end_pipeline_execution", {"inserts": [NEST] * 20_000})

    assert [error["type"] for error in answer.json()["detail"]] == ["missing", "missing", "int_type"]
    assert peak < 24 * MEBIBYTE


@pytest.mark.parametrize("path", INGEST_PATHS)
@pytest.mark.parametrize("spaces", [0, 20_000])
async def test_a_large_body_of_an_ingest_route_means_what_a_small_one_does(
    client: httpx.AsyncClient, path: str, spaces: int
) -> None:
    known = {"id": 0, "pipeline_id": "0", "end_date": "2026-03-01T10:00:00Z", "completed_successfully": "yes"}
    for body, status in ((known, 404), ({**known, "id": 1.5, "pipeline_id": None}, 422), ([], 422)):
        content = json.dumps(body).encode() + b" " * spaces
        answer = await client.post(path, content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == status, answer.text
    broken = b"[" + b" " * spaces
    answer = await client.post(path, content=broken, headers={"Content-Type": "application/json"})
    assert [error["type"] for error in answer.json()["detail"]] == ["json_invalid"]


@pytest.mark.parametrize(
    "body", [b"selected=1&" * (MOST_FORM_FIELDS + 1), b"back=" + b"a" * 70_000, b"&a" * 100_000, b"=" * 70_000]
)
async def test_a_form_is_bounded(client: httpx.AsyncClient, body: bytes) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await client.post("/ui/pipelines/bulk", content=body, headers=headers)).status_code == 400


def _metadata(size: int) -> dict[str, str]:
    """An object of so many bytes as canonical JSON."""
    return {"k": "x" * (size - len('{"k":""}'))}


async def _bodies(client: httpx.AsyncClient) -> list[tuple[str, str, dict[str, Any]]]:
    """Every request that carries metadata: its method, its path, and its body without it."""
    pipeline = {"name": "p", "pipeline_type_name": "t"}
    pipeline_id = (await client.post("/pipeline", json=pipeline)).json()["id"]
    await client.post("/address", json=ADDRESS)
    run = (await client.post("/start_pipeline_execution", json={"pipeline_id": pipeline_id})).json()["id"]
    return [
        ("POST", "/pipeline", pipeline),
        ("PATCH", "/pipeline", {"name": "p"}),
        ("POST", "/address", ADDRESS),
        ("PATCH", "/address", {"name": "a"}),
        ("POST", "/end_pipeline_execution", {"id": run, "completed_successfully": True}),
    ]


async def _statuses(client: httpx.AsyncClient, metadata: dict[str, Any]) -> set[int]:
    statuses = set()
    for method, path, body in await _bodies(client):
        field = next(f"{kind}_metadata" for kind in ("execution", "address", "pipeline") if kind in path)
        answer = await client.request(method, path, json={**body, field: metadata})
        statuses.add(answer.status_code)
        if answer.status_code == 422:
            assert "WATCHER_MAX_METADATA_BYTES" in answer.text
            assert len(answer.content) < 500
    return statuses


async def test_metadata_of_the_limit_is_taken(client: httpx.AsyncClient) -> None:
    assert await _statuses(client, _metadata(LIMIT)) <= {200, 201, 204}


async def test_larger_metadata_is_refused(client: httpx.AsyncClient) -> None:
    assert await _statuses(client, _metadata(LIMIT + 1)) == {422}


async def test_metadata_in_lineage_is_bounded_too(client: httpx.AsyncClient) -> None:
    large = {**ADDRESS, "address_metadata": _metadata(LIMIT + 1)}
    body = {"pipeline_id": 1, "source_addresses": [large], "target_addresses": [ADDRESS]}
    assert (await client.post("/address_lineage", json=body)).status_code == 422


async def test_the_limit_of_metadata_is_a_setting(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHER_MAX_METADATA_BYTES", "2000")
    get_settings.cache_clear()
    try:
        assert await _statuses(client, _metadata(2000)) <= {200, 201, 204}
        assert await _statuses(client, _metadata(2001)) == {422}
    finally:
        monkeypatch.undo()
        get_settings.cache_clear()


async def test_spaces_between_values_do_not_count(client: httpx.AsyncClient) -> None:
    body = '{"name": "p", "pipeline_type_name": "t", "pipeline_metadata": {"k":' + " " * LIMIT + "1}}"
    headers = {"Content-Type": "application/json"}
    assert (await client.post("/pipeline", content=body, headers=headers)).status_code == 201


async def test_nesting_is_bounded(client: httpx.AsyncClient) -> None:
    nested: Any = 1
    for _ in range(METADATA_MAX_DEPTH + 1):
        nested = [nested]
    body = {"name": "p", "pipeline_type_name": "t", "pipeline_metadata": {"k": nested}}
    assert (await client.post("/pipeline", json=body)).status_code == 422
