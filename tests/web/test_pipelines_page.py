"""The list of pipelines: what it shows, and how it is narrowed and sorted."""

import re
from datetime import timedelta
from html import unescape
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, Engine

from tests.incidents.records import add_incident
from tests.support.rows import add_pipeline, add_run, add_type, ago, now

PATH = "/ui/pipelines"
PART = {"HX-Request": "true"}


def _names(html: str) -> list[str]:
    return [unescape(name) for name in re.findall(r'<th scope="row" class="name"><a [^>]*>([^<]*)</a>', html)]


def _row(html: str, name: str) -> str:
    found = next(part for part in html.split('<tr id="pipeline-')[1:] if f">{name}</a>" in part)
    return unescape(re.sub(r"\s+", " ", found.partition("</tr>")[0]))


def _counts(html: str) -> dict[str, int]:
    found = re.findall(r'</svg>(\w+) <span class="count">([\d,]+)</span>', html)
    return {state: int(number.replace(",", "")) for state, number in found}


def _add_trouble(connection: Connection) -> None:
    """One pipeline of each kind, with tags and types of their own."""
    add_run(connection, add_pipeline(connection, "good", pipeline_metadata={"tags": ["nightly", "sales"]}))
    failing = add_pipeline(connection, "bad", type_fields={"name": "mart"}, pipeline_metadata={"tags": ["nightly", 7]})
    add_incident(connection, failing, "failing")
    add_incident(connection, add_pipeline(connection, "odd"), "anomalous")
    add_run(connection, add_pipeline(connection, "busy", mute_freshness_check=True), end_date=None)
    add_pipeline(connection, "new one")
    resting = add_pipeline(connection, "resting", active=False)
    add_incident(connection, resting, "failing")


async def test_an_empty_watcher_says_how_to_register_a_pipeline(client: httpx.AsyncClient) -> None:
    assert "POST /pipeline" in (await client.get(PATH)).text


async def test_the_worst_comes_first_and_each_state_is_counted(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        _add_trouble(connection)
    html = (await client.get(PATH)).text
    assert _names(html) == ["bad", "odd", "busy", "good", "new one", "resting"]
    assert _counts(html) == {
        "failing": 1, "anomalous": 1, "running": 1, "ok": 1, "unknown": 1, "paused": 1, "muted": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("q=OO", ["good"]),
        ("q=one%20new", ["new one"]),
        ("q=%25", []),
        ("type=mart", ["bad"]),
        ("tag=nightly", ["bad", "good"]),
        ("tag=night", []),
        ("state=failing", ["bad"]),
        ("state=failed", ["bad"]),
        ("state=paused", ["resting"]),
        ("state=muted", ["busy"]),
        ("state=ok", ["good"]),
        ("state=unknown&tag=&q=&type=&order=&page=1", ["new one"]),
        ("state=failing&q=good", []),
        ("state=late", []),
    ],
)
async def test_the_list_is_narrowed(client: httpx.AsyncClient, engine: Engine, query: str, names: list[str]) -> None:
    with engine.begin() as connection:
        _add_trouble(connection)
    html = (await client.get(f"{PATH}?{query}")).text
    assert _names(html) == names
    assert names or "clear the filters" in html


@pytest.mark.parametrize(
    ("order", "names"),
    [
        ("name", ["a", "b", "c"]),
        ("-name", ["c", "b", "a"]),
        ("type", ["c", "a", "b"]),
        ("-status", ["a", "c", "b"]),
        ("last_run", ["b", "a", "c"]),
        ("-last_run", ["a", "b", "c"]),
        ("duration", ["a", "b", "c"]),
        ("-duration", ["b", "a", "c"]),
        ("last_write", ["c", "a", "b"]),
        ("-last_write", ["a", "c", "b"]),
        ("next_due", ["b", "c", "a"]),
        ("-next_due", ["c", "b", "a"]),
    ],
)
async def test_it_is_sorted_and_what_has_no_value_comes_last(
    client: httpx.AsyncClient, engine: Engine, order: str, names: list[str]
) -> None:
    with engine.begin() as connection:
        first = add_pipeline(connection, "a", last_target_insert=ago(hours=2))
        add_run(connection, first, duration_seconds=1)
        second = add_pipeline(connection, "b", expected_next_run=now() + timedelta(hours=1), schedule="0 * * * *")
        add_run(connection, second, end_date=ago(hours=2), duration_seconds=9, completed_successfully=False)
        add_incident(connection, second, "failing")
        daily: dict[str, Any] = {"freshness_number": 1, "freshness_datepart": "day"}
        add_pipeline(connection, "c", type_fields={"name": "a type"}, last_target_update=ago(hours=3), **daily)
    assert _names((await client.get(f"{PATH}?order={order}")).text) == names


async def test_it_comes_in_pages_that_keep_what_is_asked_for(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        for number in range(60):
            add_pipeline(connection, f"orders {number:02}")
    first = (await client.get(f"{PATH}?q=orders&order=-name")).text
    following = re.search(r'rel="next" href="([^"]+)"', first)
    assert following is not None
    assert _names(first)[0] == "orders 59"
    second = (await client.get(unescape(following[1]))).text
    assert _names(second) == [f"orders {number:02}" for number in reversed(range(10))]
    assert _names((await client.get(f"{PATH}?q=orders&order=-name&page=99")).text) == _names(second)


@pytest.mark.parametrize(
    "query",
    [
        "order=evil", "page=0", "page=x", "page=9999999999999", "state=evil", "q=%00", "q=" + "x" * 151,
        "tag=%00", "tag=" + "x" * 2000, "type=%ff", "selected=x", "selected=99999999999999999999", "state=&q=%20",
        "selected=1" + 60 * "&selected=1",
    ],
)  # fmt: skip
async def test_odd_parameters_never_break_it(client: httpx.AsyncClient, engine: Engine, query: str) -> None:
    with engine.begin() as connection:
        add_pipeline(connection)
    for headers in ({}, PART):
        assert (await client.get(f"{PATH}?{query}", headers=headers)).status_code in {200, 422}


async def test_names_types_and_tags_are_shown_as_they_are(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        hostile = "<script>alert(1)</script>"
        add_pipeline(connection, hostile, type_fields={"name": f"t{hostile}"}, pipeline_metadata={"tags": [hostile]})
        add_pipeline(connection, "no list of tags", pipeline_metadata={"tags": {"a": "b"}})
    for path in (PATH, f"{PATH}/1/edit", f"{PATH}?q=%22%3E%3Cscript%3E&tag=%22%3E%3Cscript%3E"):
        html = (await client.get(path)).text
        assert "<script>" not in html.lower().replace('<script type="module"', "")
    assert "&lt;script&gt;alert(1)" in (await client.get(PATH)).text


async def test_freshness_and_timeliness_at_a_glance(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        limits = {"freshness_datepart": "day", "timeliness_number": 1, "timeliness_datepart": "hour"}
        add_type(connection, "load", freshness_number=2, **limits)
        kind: dict[str, Any] = {"type_fields": {"name": "load"}}
        fresh = add_pipeline(connection, "fresh", last_target_insert=ago(hours=1), **kind)
        add_run(connection, fresh, duration_seconds=60)
        close = add_pipeline(connection, "close", last_target_insert=ago(hours=47), **kind)
        add_run(connection, close, duration_seconds=3_000)
        own: dict[str, Any] = {"freshness_number": 90, "freshness_datepart": "minute", "mute_timeliness_check": True}
        past = add_pipeline(connection, "past", last_target_insert=ago(hours=2), **own, **kind)
        add_run(connection, past, duration_seconds=4_000)
        add_pipeline(connection, "endless", **kind | {"freshness_number": 2**31 - 1, "freshness_datepart": "year"})
        add_pipeline(connection, "free", type_fields={"name": "free", "mute_freshness_check": True})
    html = (await client.get(PATH)).text
    assert "glance fresh" in _row(html, "fresh")
    assert "1h of 2 days (its type's)" in _row(html, "fresh")
    assert _row(html, "close").count('<span class="word">close</span>') == 2
    assert '<span class="word">over</span>' in _row(html, "past")
    assert "2h of 90 minutes (its own)" in _row(html, "past")
    assert "1h 6m of 1 hour (its type's); muted" in _row(html, "past")
    assert "2,147,483,647 years (its own)" in _row(html, "endless")
    assert "No threshold; muted by its type" in _row(html, "free")
    assert "no limit" in _row(html, "free")


async def test_the_latest_twenty_runs_are_bars_that_lead_to_them(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection, "orders")
        for hours in range(21, 0, -1):
            add_run(connection, pipeline, end_date=ago(hours=hours), duration_seconds=100)
        failed = add_run(
            connection, pipeline, end_date=ago(minutes=20), duration_seconds=25, completed_successfully=False
        )
        running = add_run(connection, pipeline, start_date=ago(minutes=1), end_date=None)
    row = _row((await client.get(PATH)).text, "orders")
    links = re.findall(r'href="/ui/executions/(\d+)"', row)
    assert len(links) == 20
    assert links[-2:] == [str(failed), str(running)]
    assert "Last 20 runs: 18 ok, 1 failed, 1 running" in row
    assert "failed after 25s; began" in row
    # The only one that the Tab key stops at.
    assert row.count('tabindex="-1"') == 19


async def test_htmx_gets_the_list_alone_and_what_is_selected_stays_so(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    with engine.begin() as connection:
        chosen, other = add_pipeline(connection, "chosen"), add_pipeline(connection, "other")
    answer = await client.get(f"{PATH}?q=&type=&order=status&selected={chosen}", headers=PART)
    assert answer.text.lstrip().startswith('<section id="list"')
    assert answer.headers["hx-replace-url"] == PATH
    assert f'id="select-{chosen}" aria-label="Select chosen" checked' in answer.text
    assert f'id="select-{other}" aria-label="Select other">' in answer.text
