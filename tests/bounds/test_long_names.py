"""Names: one per pipeline and address, however its accents are encoded and its letters written; and their length."""

from collections.abc import Iterator

import httpx
import pytest

from watcher_server.settings import get_settings

KIND = {"address_type_name": "postgres", "address_type_group_name": "database"}
COMPOSED, DECOMPOSED = "Caf\u00e9", "cafe\u0301"


@pytest.fixture
def long_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Names may be long, in this process."""
    monkeypatch.setenv("WATCHER_LONG_NAMES", "true")
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.mark.parametrize(("path", "fields"), [("/pipeline", {"pipeline_type_name": "t"}), ("/address", KIND)])
async def test_two_spellings_of_a_name_are_one_and_the_first_one_is_shown(
    client: httpx.AsyncClient, path: str, fields: dict[str, str]
) -> None:
    first = await client.post(path, json={"name": f" {COMPOSED} ", **fields})
    second = await client.post(path, json={"name": DECOMPOSED, **fields, "primary_key": "x", "fail_after": 2})

    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["id"] == second.json()["id"]
    stored = (await client.get(f"{path}/1")).json()
    assert (stored["name"], stored["display_name"]) == ("caf\u00e9", COMPOSED)
    assert (await client.patch(path, json={"name": DECOMPOSED.upper()})).json()["id"] == 1
    assert len((await client.get(path, params={"name": DECOMPOSED})).json()) == 1
    renamed = (await client.patch(path, json={"id": 1, "name": "Bar"})).json()
    assert (renamed["name"], renamed["display_name"]) == ("bar", "Bar")


async def test_a_ping_url_is_that_of_the_pipeline_in_any_spelling(client: httpx.AsyncClient) -> None:
    made = await client.post("/ping_url", json={"name": DECOMPOSED})
    found = await client.post("/pipeline", json={"name": COMPOSED, "pipeline_type_name": "t"})

    assert (made.json()["pipeline_id"], found.status_code) == (found.json()["id"], 200)


async def test_names_are_short_unless_long_ones_are_allowed(client: httpx.AsyncClient) -> None:
    pipeline = await client.post("/pipeline", json={"name": "x" * 151, "pipeline_type_name": "t"})
    address = await client.post("/address", json={"name": "a", "schema_name": "x" * 51, **KIND})

    for answer, field in ((pipeline, "name"), (address, "schema_name")):
        assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", field])
        assert "WATCHER_LONG_NAMES" in answer.json()["detail"][0]["msg"]


@pytest.mark.usefixtures("long_names")
async def test_long_names_may_have_a_thousand_bytes(client: httpx.AsyncClient) -> None:
    longest, too_long = "\u017e" * 500, "\u017e" * 501
    parts = {"schema_name": "s" * 255}

    pipeline = await client.post("/pipeline", json={"name": longest, "pipeline_type_name": "t"})
    address = await client.post("/address", json={"name": longest, **KIND, **parts})
    refused = [
        await client.post("/pipeline", json={"name": too_long, "pipeline_type_name": "t"}),
        await client.post("/address", json={"name": "a", **KIND, "table_name": "s" * 256}),
        await client.post("/pipeline_type", json={"name": "x" * 151}),
    ]

    assert (pipeline.status_code, address.status_code) == (201, 201)
    assert [answer.status_code for answer in refused] == [422] * 3
    assert (await client.get("/pipeline")).json()[0]["name"] == longest
    assert (await client.patch("/pipeline", json={"name": longest, "active": False})).status_code == 200
    exported = (await client.get("/alerting/export", params={"pipelines": "true"})).json()
    again = await client.post("/alerting/apply", json={"document": exported, "origin": "watcher.yaml"})
    assert (again.status_code, again.json()["unchanged"]) == (200, 1)
    for page in ("/ui", "/ui/pipelines", "/ui/pipelines/1", "/lineage-graph?source_address_id=1"):
        assert (await client.get(page, headers={"Accept": "text/html"})).status_code == 200


@pytest.mark.parametrize("invisible", ["\u200b", "\u2060", "\ufeff", "\u00ad", "\U000e0041", "\u200d", "\u202e"])
async def test_a_name_has_no_character_that_nobody_sees(client: httpx.AsyncClient, invisible: str) -> None:
    answer = await client.post("/pipeline", json={"name": f"or{invisible}ders", "pipeline_type_name": "t"})

    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", "name"])


async def test_joiners_stand_where_a_script_needs_them(client: httpx.AsyncClient) -> None:
    for name in ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\U0001f469\u200d\U0001f680"):
        answer = await client.post("/pipeline", json={"name": name, "pipeline_type_name": "t"})
        assert answer.status_code == 201
