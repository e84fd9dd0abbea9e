"""Pipelines over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.conftest import MakeClient

BODY = {"name": "  Orders Daily ", "pipeline_type_name": "Extraction", "pipeline_metadata": {"Owner": "Ana"}}


async def test_a_new_pipeline_is_201_and_the_same_again_is_200(client: httpx.AsyncClient) -> None:
    first = await client.post("/pipeline", json=BODY)
    again = await client.post("/pipeline", json=BODY)

    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == {"id": 1, "active": True, "load_lineage": True, "watermark": None} == again.json()


async def test_names_are_trimmed_and_lowered_and_metadata_is_not(client: httpx.AsyncClient) -> None:
    await client.post("/pipeline", json=BODY)

    stored = (await client.get("/pipeline/1")).json()

    assert stored["name"] == "orders daily"
    assert stored["pipeline_metadata"] == {"Owner": "Ana"}


async def test_an_unchanged_body_leaves_updated_at_alone_and_a_changed_one_sets_it(
    client: httpx.AsyncClient,
) -> None:
    await client.post("/pipeline", json=BODY)
    await client.post("/pipeline", json=BODY)
    assert (await client.get("/pipeline/1")).json()["updated_at"] is None

    await client.post("/pipeline", json={**BODY, "pipeline_metadata": {"Owner": "Bo"}})

    stored = (await client.get("/pipeline/1")).json()
    assert stored["pipeline_metadata"] == {"Owner": "Bo"}
    assert stored["updated_at"] is not None


async def test_two_servers_on_one_database_agree_that_nothing_changed(make_client: MakeClient) -> None:
    async with make_client() as one, make_client() as other:
        await one.post("/pipeline", json=BODY)
        await other.post("/pipeline", json=BODY)

        assert (await one.get("/pipeline/1")).json()["updated_at"] is None


async def test_a_repost_keeps_what_it_leaves_out_and_clears_an_explicit_null(
    client: httpx.AsyncClient,
) -> None:
    pair = {"freshness_number": 2, "freshness_datepart": "DAY"}
    await client.post("/pipeline", json={**BODY, **pair})
    await client.post("/pipeline", json={"name": "orders daily", "pipeline_type_name": "extraction"})
    kept = (await client.get("/pipeline/1")).json()
    await client.post("/pipeline", json={**BODY, "freshness_number": None, "freshness_datepart": None})
    cleared = (await client.get("/pipeline/1")).json()

    assert (kept["freshness_number"], kept["freshness_datepart"]) == (2, "day")
    assert (cleared["freshness_number"], cleared["freshness_datepart"]) == (None, None)


async def test_the_next_watermark_is_stored_as_sent_and_does_not_touch_updated_at(
    client: httpx.AsyncClient,
) -> None:
    await client.post("/pipeline", json=BODY)
    await client.patch("/pipeline", json={"id": 1, "watermark": "2026-01-01"})
    touched = (await client.get("/pipeline/1")).json()["updated_at"]

    answer = await client.post("/pipeline", json={**BODY, "next_watermark": " Batch-A "})

    stored = (await client.get("/pipeline/1")).json()
    assert answer.json()["watermark"] == "2026-01-01"
    assert stored["next_watermark"] == " Batch-A "
    assert stored["updated_at"] == touched


async def test_a_null_next_watermark_clears_and_one_left_out_keeps(client: httpx.AsyncClient) -> None:
    stored = []
    for carried in ({"next_watermark": "a"}, {}, {"next_watermark": None}):
        await client.post("/pipeline", json={**BODY, **carried})
        stored.append((await client.get("/pipeline/1")).json()["next_watermark"])

    assert stored == ["a", "a", None]


async def test_the_watermark_is_told_only_to_who_brings_the_next_one(client: httpx.AsyncClient) -> None:
    await client.post("/pipeline", json=BODY)
    await client.patch("/pipeline", json={"id": 1, "watermark": "2026-01-01"})

    without = await client.post("/pipeline", json=BODY)
    with_null = await client.post("/pipeline", json={**BODY, "next_watermark": None})

    assert (without.json()["watermark"], with_null.json()["watermark"]) == (None, "2026-01-01")


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        (42, "42"),
        ("2026-01-01", "2026-01-01"),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        (None, None),
    ],
)
async def test_a_watermark_is_text(client: httpx.AsyncClient, sent: Any, stored: str | None) -> None:
    await client.post("/pipeline", json={**BODY, "next_watermark": sent})

    assert (await client.get("/pipeline/1")).json()["next_watermark"] == stored


async def test_twenty_concurrent_first_posts_make_one_pipeline(client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(client.post("/pipeline", json=BODY) for _ in range(20)))

    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
    assert {answer.json()["id"] for answer in answers} == {answers[0].json()["id"]}


async def test_changing_a_pipeline_and_moving_it_to_a_type_at_once_never_fails(client: httpx.AsyncClient) -> None:
    for type_name in ("extraction", "loading"):
        await client.post("/pipeline_type", json={"name": type_name})
    await client.post("/pipeline", json=BODY)

    for turn in range(30):
        declared = [
            client.post("/pipeline", json={**BODY, "pipeline_type_name": name, "pipeline_metadata": {"turn": turn}})
            for name in ("extraction", "loading")
        ]
        moved = [client.patch("/pipeline", json={"id": 1, "pipeline_type_id": type_id}) for type_id in (1, 2)]
        muted = [
            client.patch("/pipeline_type", json={"id": type_id, "mute_freshness_check": True}) for type_id in (1, 2)
        ]
        answers = await asyncio.gather(*declared, *moved, *muted)
        assert {answer.status_code for answer in answers} == {200}


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/pipeline", {"name": "orders", "pipeline_type_name": "extraction"}),
        ("/pipeline_type", {"name": "extraction"}),
    ],
    ids=["pipeline", "pipeline_type"],
)
async def test_a_repost_that_clears_half_a_pair_is_422_and_changes_nothing(
    client: httpx.AsyncClient, path: str, named: dict[str, Any]
) -> None:
    await client.post(path, json={**named, "freshness_number": 1, "freshness_datepart": "day"})

    half = await client.post(path, json={**named, "freshness_number": None})
    new = await client.post(path, json={**named, "name": "new", "freshness_number": None})

    assert (half.status_code, new.status_code) == (422, 201)
    assert half.json()["detail"][0]["loc"] == ["body", "freshness_number"]
    stored = (await client.get(f"{path}/1")).json()
    assert (stored["freshness_number"], stored["freshness_datepart"]) == (1, "day")
    assert stored["updated_at"] is None


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"name": "   "},
        {"name": "x" * 151},
        {"name": "a\x00b"},
        {"name": None},
        {"name": 5},
        {"freshness_number": 1},
        {"freshness_datepart": "day"},
        {"freshness_number": 0, "freshness_datepart": "day"},
        {"freshness_number": 2**31, "freshness_datepart": "day"},
        {"freshness_number": 1, "freshness_datepart": "fortnight"},
        {"next_watermark": "x" * 51},
        {"next_watermark": 10**60},
        {"next_watermark": True},
        {"next_watermark": {"a": 1}},
        {"pipeline_metadata": []},
        {"pipeline_metadata": {"a": 2**63}},
        {"pipeline_metadata": {"a": [-(2**63) - 1]}},
        {"pipeline_metadata": {"a": 1e19}},
        {"pipeline_metadata": {"a": "\x00"}},
        {"pipeline_metadata": {"\x00": 1}},
    ],
)
async def test_bad_input_is_422_and_changes_nothing(client: httpx.AsyncClient, change: dict[str, Any]) -> None:
    answer = await client.post("/pipeline", json={**BODY, **change})

    assert answer.status_code == 422
    assert {"loc", "msg", "type"} == set(answer.json()["detail"][0])
    assert (await client.get("/pipeline")).json() == []
    assert (await client.get("/pipeline_type")).json() == []


# Bodies that are accepted once VALUE is text, number or array; a start ignores the field that it does not know.
WITH_VALUE = {
    "/pipeline": b'{"name": "n", "pipeline_type_name": "t", "pipeline_metadata": {"a": VALUE}}',
    "/start_pipeline_execution": b'{"pipeline_id": 1, "unknown": VALUE}',
    "/end_pipeline_execution": b'{"id": 1, "completed_successfully": true, "execution_metadata": {"a": VALUE}}',
}
NOT_FINITE = (b"NaN", b"Infinity", b"1e999")


async def _post_raw(client: httpx.AsyncClient, path: str, raw: bytes) -> httpx.Response:
    await client.post("/pipeline", json={**BODY, "name": "of the run"})
    await client.post("/start_pipeline_execution", json={"pipeline_id": 1, "start_date": "2025-01-01T00:00:00Z"})
    return await client.post(path, content=raw, headers={"Content-Type": "application/json"})


@pytest.mark.parametrize("raw", [b"", b"{", b"null", b"[1]", b'"text"', b"\xff\xfe"])
@pytest.mark.parametrize("path", WITH_VALUE)
async def test_what_is_no_json_object_is_422(client: httpx.AsyncClient, path: str, raw: bytes) -> None:
    answer = await _post_raw(client, path, raw)

    assert answer.status_code == 422
    assert isinstance(answer.json()["detail"], list)


@pytest.mark.parametrize(
    "value", [*NOT_FINITE, b'"\\udc00"', b"[" * 101 + b"]" * 101, b'{"a":' * 50_000 + b"1" + b"}" * 50_000]
)
@pytest.mark.parametrize("path", WITH_VALUE)
async def test_what_is_not_storable_json_is_422(client: httpx.AsyncClient, path: str, value: bytes) -> None:
    answer = await _post_raw(client, path, WITH_VALUE[path].replace(b"VALUE", value))

    if path == "/start_pipeline_execution" and value in {*NOT_FINITE, b"[" * 101 + b"]" * 101}:
        # It is stored nowhere.
        assert answer.status_code == 201
    else:
        assert answer.status_code == 422
        assert isinstance(answer.json()["detail"], list)


@pytest.mark.parametrize("path", WITH_VALUE)
async def test_the_same_bodies_with_a_value_that_can_be_stored_are_accepted(
    client: httpx.AsyncClient, path: str
) -> None:
    answer = await _post_raw(client, path, WITH_VALUE[path].replace(b"VALUE", b'["text", 1.5]'))

    assert answer.is_success


@pytest.mark.parametrize("path", ["/pipeline", "/start_pipeline_execution", "/end_pipeline_execution"])
async def test_what_does_not_say_that_it_is_json_is_422(client: httpx.AsyncClient, path: str) -> None:
    await client.post("/pipeline", json=BODY)
    await client.post("/start_pipeline_execution", json={"pipeline_id": 1})
    body = b'{"name": "n", "pipeline_type_name": "t", "pipeline_id": 1, "id": 1, "completed_successfully": true}'

    assert (await client.post(path, content=body, headers={"Content-Type": "text/plain"})).status_code == 422


async def test_metadata_of_a_hundred_levels_comes_back(client: httpx.AsyncClient) -> None:
    deep: Any = 1
    for _ in range(99):
        deep = {"a": deep}
    await client.post("/pipeline", json={**BODY, "pipeline_metadata": {"deep": deep}})

    assert (await client.get("/pipeline/1")).json()["pipeline_metadata"] == {"deep": deep}


async def _in_pieces(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b" " * 1000


@pytest.mark.parametrize("path", ["/pipeline", "/start_pipeline_execution"])
async def test_a_body_over_the_limit_is_413(make_client: MakeClient, path: str) -> None:
    async with make_client(max_body_bytes=2048) as client:
        whole = await client.post(path, json={**BODY, "pipeline_metadata": {"a": "x" * 3000}})
        in_pieces = await client.post(path, content=_in_pieces(4), headers={"Content-Type": "application/json"})

    assert (whole.status_code, in_pieces.status_code) == (413, 413)
    assert "WATCHER_MAX_BODY_BYTES" in whole.json()["detail"]


class TestPatch:
    """PATCH /pipeline."""

    async def test_only_what_is_present_changes(self, client: httpx.AsyncClient) -> None:
        await client.post("/pipeline", json=BODY)

        answer = await client.patch("/pipeline", json={"name": "Orders Daily", "active": False})

        assert answer.status_code == 200
        assert (answer.json()["active"], answer.json()["pipeline_metadata"]) == (False, {"Owner": "Ana"})
        assert answer.json()["updated_at"] is not None

    async def test_the_sdk_names_the_id_pipeline_id(self, client: httpx.AsyncClient) -> None:
        await client.post("/pipeline", json=BODY)

        answer = await client.patch("/pipeline", json={"pipeline_id": 1, "next_watermark": 7})

        assert answer.json()["next_watermark"] == "7"

    async def test_a_null_id_does_not_hide_the_pipeline_id(self, client: httpx.AsyncClient) -> None:
        await client.post("/pipeline", json=BODY)

        answer = await client.patch("/pipeline", json={"id": None, "pipeline_id": 1, "active": False})

        assert (answer.status_code, answer.json()["active"]) == (200, False)

    @pytest.mark.parametrize("identity", [{}, {"id": None}, {"id": None, "pipeline_id": None}, {"name": None}])
    async def test_neither_id_nor_name_says_so(self, client: httpx.AsyncClient, identity: dict[str, Any]) -> None:
        answer = await client.patch("/pipeline", json={**identity, "active": False})

        assert answer.status_code == 422
        assert "Either 'id' or 'name' must be provided" in answer.text

    async def test_half_a_pair_is_fine_when_the_result_is_whole(self, client: httpx.AsyncClient) -> None:
        await client.post("/pipeline", json={**BODY, "freshness_number": 2, "freshness_datepart": "day"})

        whole = await client.patch("/pipeline", json={"id": 1, "freshness_number": 5})
        half = await client.patch("/pipeline", json={"id": 1, "freshness_number": None})

        assert (whole.status_code, whole.json()["freshness_number"]) == (200, 5)
        assert half.status_code == 422
        assert (await client.get("/pipeline/1")).json()["freshness_number"] == 5

    async def test_a_taken_name_is_400(self, client: httpx.AsyncClient) -> None:
        await client.post("/pipeline", json=BODY)
        await client.post("/pipeline", json={**BODY, "name": "other"})

        answer = await client.patch("/pipeline", json={"id": 2, "name": "orders daily"})

        assert (answer.status_code, answer.json()) == (400, {"detail": "Pipeline name already exists"})

    @pytest.mark.parametrize(
        "change",
        [
            {"id": 99},
            {"id": 0},
            {"name": "nobody"},
            {"id": 1, "pipeline_type_id": 99},
            {"id": 1, "pipeline_type_id": 0},
        ],
    )
    async def test_the_unknown_is_404(self, client: httpx.AsyncClient, change: dict[str, Any]) -> None:
        await client.post("/pipeline", json=BODY)

        assert (await client.patch("/pipeline", json=change)).status_code == 404

    @pytest.mark.parametrize(
        ("path", "field"),
        [
            ("/pipeline", "active"),
            ("/pipeline", "load_lineage"),
            ("/pipeline", "mute_freshness_check"),
            ("/pipeline", "mute_timeliness_check"),
            ("/pipeline", "pipeline_type_id"),
            ("/pipeline_type", "mute_freshness_check"),
            ("/pipeline_type", "mute_timeliness_check"),
        ],
    )
    async def test_null_for_what_cannot_be_null_is_422(self, client: httpx.AsyncClient, path: str, field: str) -> None:
        await client.post("/pipeline", json=BODY)

        assert (await client.patch(path, json={"id": 1, field: None})).status_code == 422


async def test_lists_are_by_id_paged_and_filtered(client: httpx.AsyncClient) -> None:
    for name in ("b", "a", "a_c", "abc"):
        await client.post("/pipeline", json={**BODY, "name": name})
    await client.patch("/pipeline", json={"name": "a", "active": False})

    async def names(**query: Any) -> list[str]:
        return [row["name"] for row in (await client.get("/pipeline", params=query)).json()]

    assert await names() == ["b", "a", "a_c", "abc"]
    assert await names(limit=2, offset=1) == ["a", "a_c"]
    assert await names(limit=0) == []
    assert await names(name="A_") == ["a_c"]
    assert await names(active=False) == ["a"]


@pytest.mark.parametrize(
    "path",
    [
        "/pipeline?limit=-1",
        "/pipeline?offset=-1",
        "/pipeline?offset=99999999999999999999",
        "/pipeline?name=%00",
    ],
)
async def test_odd_list_parameters_are_422(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 422


@pytest.mark.parametrize(
    ("path", "status"),
    [("/pipeline/99", 404), ("/pipeline/0", 404), ("/pipeline/-1", 404), ("/pipeline/99999999999999999999", 422)],
)
async def test_an_unknown_id_is_404_and_an_impossible_one_422(
    client: httpx.AsyncClient, path: str, status: int
) -> None:
    assert (await client.get(path)).status_code == status


async def test_a_new_pipeline_can_bring_a_rule_per_metric(make_client: MakeClient) -> None:
    async with make_client(auto_create_anomaly_detection_rules=True) as client:
        await client.post("/pipeline", json=BODY)

        rules = (await client.get("/anomaly_detection_rule")).json()

    assert sorted(rule["metric_field"] for rule in rules) == [
        "duration_seconds",
        "inserts",
        "soft_deletes",
        "throughput",
        "total_rows",
        "updates",
    ]


async def test_a_pipeline_that_existed_brings_no_rules(client: httpx.AsyncClient, make_client: MakeClient) -> None:
    await client.post("/pipeline", json=BODY)

    async with make_client(auto_create_anomaly_detection_rules=True) as other:
        assert (await other.post("/pipeline", json=BODY)).status_code == 200

    assert (await client.get("/anomaly_detection_rule")).json() == []


async def test_a_pipeline_type_posted_again_unchanged_is_not_written(client: httpx.AsyncClient) -> None:
    body = {"name": "load", "freshness_number": 1, "freshness_datepart": "Day"}
    for _ in range(2):
        await client.post("/pipeline_type", json=body)
    untouched = (await client.get("/pipeline_type/1")).json()["updated_at"]

    await client.post("/pipeline_type", json={**body, "freshness_number": 2})

    changed = (await client.get("/pipeline_type/1")).json()
    assert untouched is None
    assert (changed["freshness_number"], changed["updated_at"] is None) == (2, False)


async def test_a_pipeline_type_is_get_or_create_and_patch(client: httpx.AsyncClient) -> None:
    first = await client.post("/pipeline_type", json={"name": " Load "})
    again = await client.post("/pipeline_type", json={"name": "load", "mute_freshness_check": True})
    patched = await client.patch(
        "/pipeline_type", json={"name": "LOAD", "timeliness_number": 3, "timeliness_datepart": "Hour"}
    )
    half = await client.patch("/pipeline_type", json={"id": 1, "timeliness_datepart": None})

    assert (first.status_code, again.status_code, half.status_code) == (201, 200, 422)
    assert first.json() == again.json() == {"id": 1}
    assert patched.json()["mute_freshness_check"] is True
    assert (patched.json()["timeliness_number"], patched.json()["timeliness_datepart"]) == (3, "hour")


@pytest.mark.parametrize("path", ["/pipeline", "/start_pipeline_execution", "/timeliness"])
async def test_json_that_is_not_announced_is_422_and_says_what_to_do(client: httpx.AsyncClient, path: str) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}

    for headers in ({}, form):
        answer = await client.post(path, content=b'{"pipeline_id": 1}', headers=headers)

        assert answer.status_code == 422
        assert "Content-Type: application/json" in answer.json()["detail"][0]["msg"]


async def test_a_mute_may_say_until_when_and_unmuting_forgets_it(client: httpx.AsyncClient) -> None:
    await client.post("/pipeline", json=BODY)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    muted = {"id": 1, "mute_freshness_check": True, "mute_until": tomorrow.isoformat()}

    answer = await client.patch("/pipeline", json=muted)
    assert datetime.fromisoformat(answer.json()["mute_until"]) == tomorrow

    answer = await client.patch("/pipeline", json={"id": 1, "mute_freshness_check": False})
    assert answer.json()["mute_until"] is None


@pytest.mark.parametrize("until", ["2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z", "soon"])
async def test_a_mute_does_not_end_in_the_past_or_in_a_thousand_years(client: httpx.AsyncClient, until: str) -> None:
    await client.post("/pipeline", json=BODY)
    answer = await client.patch("/pipeline", json={"id": 1, "mute_freshness_check": True, "mute_until": until})
    assert answer.status_code == 422
    assert (await client.get("/pipeline/1")).json()["mute_freshness_check"] is False


async def test_an_end_without_a_mute_is_refused_with_what_it_goes_with(client: httpx.AsyncClient) -> None:
    await client.post("/pipeline", json=BODY)
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    answer = await client.patch("/pipeline", json={"id": 1, "mute_until": tomorrow})
    assert answer.status_code == 422
    assert "mute_freshness_check or mute_timeliness_check" in answer.text
