"""The page of the audit trail."""

import re
from html import unescape

import httpx
import pytest
from sqlalchemy import Engine

from tests.audit.test_reading import ANN, add_entries
from tests.conftest import MakeClient
from tests.support.hostile import MARKUP, RAW
from tests.support.rows import add_pipeline
from watcher_server.audit.acting import Actor, ActorKind, acting_as
from watcher_server.audit.service import Change, record
from watcher_server.auth.service import create_token

HTML = {"Accept": "text/html"}


async def _open(client: httpx.AsyncClient, query: str = "") -> str:
    answer = await client.get(f"/ui/audit{query}", headers=HTML)
    assert answer.status_code == 200, answer.text
    return answer.text


def _shown(page: str) -> list[str]:
    return re.findall(r'<tr id="entry-(\d+)"', page)


async def test_an_empty_trail_says_what_will_stand_there(client: httpx.AsyncClient) -> None:
    assert "Nothing was changed yet" in await _open(client)


async def test_an_entry_shows_who_what_and_the_difference(client: httpx.AsyncClient, engine: Engine) -> None:
    add_entries(engine)
    page = await _open(client)
    assert _shown(page) == ["3", "2", "1"]
    row = page.split('<tr id="entry-1"')[1]
    assert "token, 10.0.0.7" in row
    assert '<a href="/ui/pipelines/7">Orders</a>' in row
    assert "<dt>owner</dt><dd><del>x</del>" in row
    assert "<ins>100%_sure</ins>" in row
    assert "<strong>archive</strong> pipeline" in page.split('<tr id="entry-2"')[0]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("?actor=bob", ["3"]),
        ("?q=orders&action=change", ["1"]),
        ("?object_kind=channel&object_id=ops&actor=&q=&since=&until=", ["2"]),
        ("?until=2020-01-01T00:00", []),
    ],
)
async def test_filters_stay_in_the_form_and_the_download(
    client: httpx.AsyncClient, engine: Engine, query: str, found: list[str]
) -> None:
    add_entries(engine)
    page = await _open(client, query)
    assert _shown(page) == found
    if not found:
        assert "No change matches" in page
        return
    download = re.search(r'<a href="(/audit\.ndjson[^"]*)"', page)
    assert download is not None
    lines = (await client.get(unescape(download[1]))).text.splitlines()
    assert len(lines) == len(found)


async def test_older_entries_follow(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection, acting_as(ANN):
        record(connection, *(Change("create", "token", number, "t") for number in range(60)))
    first = await _open(client)
    older = re.search(r'<a rel="next" href="/ui/audit([^"]*)"', first)
    assert older is not None
    second = await _open(client, unescape(older[1]))
    assert [int(number) for number in _shown(first) + _shown(second)] == list(range(60, 0, -1))
    assert 'rel="next"' not in second
    assert "Nothing older" in await _open(client, "?cursor=1")


async def test_what_people_wrote_is_text(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection, acting_as(Actor(MARKUP[:150], ActorKind.TOKEN, MARKUP)):
        fields = {MARKUP: MARKUP, "long": MARKUP * 20}
        record(connection, Change("change", "channel", MARKUP, MARKUP, {"x": MARKUP}, fields))
    page = await _open(client)
    assert _shown(page) == ["1"]
    assert not any(raw in page for raw in RAW)


async def test_objects_lead_to_their_history_for_administrators_alone(make_client: MakeClient, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
        tokens = {scope: create_token(connection, f"of {scope}", scope) for scope in ("write", "admin")}
    async with make_client() as client:
        bearer = {scope: {"Authorization": f"Bearer {token}"} for scope, token in tokens.items()}
        channel = {"type": "discord", "url": {"env": "X"}}
        made = await client.put("/alerting/channels/ops", json=channel, headers=bearer["admin"])
        assert made.is_success
        for path, query in (
            (f"/ui/pipelines/{pipeline}", f"object_kind=pipeline&amp;object_id={pipeline}"),
            ("/ui/channels/edit?name=ops", "object_kind=channel&amp;object_id=ops"),
            ("/ui/settings", ""),
        ):
            for scope, headers in bearer.items():
                page = (await client.get(path, headers=headers)).text
                assert (f"/ui/audit{'?' if query else ''}{query}" in page) is (scope == "admin")
        found = (await client.get("/ui/audit?object_kind=channel&object_id=ops", headers=bearer["admin"])).text
        assert _shown(found) == ["1"]


async def test_a_wrong_filter_is_a_page_that_says_so(client: httpx.AsyncClient) -> None:
    answer = await client.get("/ui/audit?since=yesterday", headers=HTML)
    assert answer.status_code == 422
    assert "<nav" in answer.text
