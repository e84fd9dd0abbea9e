"""Changing pipelines from their list, one or many, with and without scripts."""

import json
import re
from html import unescape
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from tests.conftest import MakeClient
from tests.support.logins import session_cookie
from tests.support.rows import add_pipeline, change_pipeline, now, rows
from watcher_server.auth.service import create_token
from watcher_server.pipelines.models import Pipeline

PATH = "/ui/pipelines"
PART = {"HX-Request": "true"}


def _fields(html: str) -> dict[str, str]:
    """What a browser would send of the form, but for its buttons."""
    html = html[html.index('action="/ui/pipelines/') :]
    found = {}
    for field in re.findall(r"<input ([^>]*)>", html):
        attributes = {name: unescape(value) for name, value in re.findall(r'([\w-]+)="([^"]*)"', field)}
        if attributes.get("type") != "checkbox" or " checked" in field:
            found[attributes["name"]] = attributes.get("value", "")
    for name, options in re.findall(r'<select name="(\w+)".*?>(.*?)</select>', html, re.DOTALL):
        chosen = re.search(r'<option value="(\w*)" selected', options)
        found[name] = chosen[1] if chosen else ""
    return found


def _changes(html: str) -> list[tuple[str, str, str]]:
    found = re.findall(r'<th scope="row">(.*?)</th><td>(.*?)</td>.*?<strong>(.*?)</strong>', html)
    return [(unescape(label), unescape(before), unescape(after)) for label, before, after in found]


def _stored(engine: Engine, pipeline_id: int) -> dict[str, Any]:
    with engine.begin() as connection:
        return next(row for row in rows(connection, Pipeline) if row["id"] == pipeline_id)


async def test_a_pipeline_is_edited_step_by_step_without_a_script(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        kind = {"name": "load", "freshness_number": 2, "freshness_datepart": "day"}
        own: dict[str, Any] = {"timeliness_number": 30, "timeliness_datepart": "minute"}
        pipeline = add_pipeline(connection, "orders", type_fields=kind, **own)
    url, back = f"{PATH}/{pipeline}/edit", f"{PATH}?q=orders"
    assert "orders" in (await client.get(back)).text

    fields = _fields((await client.get(url, params={"back": back})).text)
    typed = {"freshness_number": "36", "freshness_datepart": "hour", "timeliness_number": "", "timeliness_datepart": ""}
    answer = await client.post(url, data={**fields, **typed, "mute_timeliness_check": "true"})
    assert answer.status_code == 200
    assert _changes(answer.text) == [
        ("Timeliness check", "on", "muted"),
        ("Stale after", "its type’s: 2 days", "36 hours"),  # noqa: RUF001 - as it is shown
        ("Late after", "30 minutes", "none, nor has its type one"),
    ]
    assert _stored(engine, pipeline)["freshness_number"] is None

    form = await client.post(url, data={**_fields(answer.text), "editing": "true"})
    assert _fields(form.text)["freshness_number"] == "36"

    done = await client.post(url, data={**_fields(answer.text), "confirmed": "true"})
    assert (done.status_code, done.headers["location"]) == (303, back)
    stored = _stored(engine, pipeline)
    assert (stored["freshness_number"], stored["freshness_datepart"]) == (36, "hour")
    assert (stored["timeliness_number"], stored["timeliness_datepart"]) == (None, None)
    assert stored["mute_timeliness_check"] is True
    assert stored["updated_at"] is not None
    assert "36 hours (its own)" in (await client.get(back)).text


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ({"freshness_number": "0", "freshness_datepart": "day"}, "greater than 0"),
        ({"freshness_number": "soon", "freshness_datepart": "day"}, "valid integer"),
        ({"freshness_number": "99999999999", "freshness_datepart": "day"}, "less than or equal to 2147483647"),
        ({"freshness_number": "1", "freshness_datepart": "eon"}, "Input should be"),
        ({"freshness_number": "1", "freshness_datepart": ""}, "give both"),
        ({"freshness_number": "", "freshness_datepart": "day"}, "give both"),
        ({"timeliness_warning_number": "\x00", "timeliness_warning_datepart": "day"}, "valid integer"),
        ({"schedule": "61 2 * * *"}, "must be five-field cron"),
        ({"schedule_timezone": "Mars/Base"}, "must be the IANA name of a time zone"),
        ({"schedule_grace_minutes": "-1"}, "greater than or equal to 0"),
        ({"runbook_url": "javascript:alert(1)"}, "must begin with http"),
        ({"tags": "x" * 51}, "At most 20 tags of 50 characters each"),
    ],
)
async def test_what_is_wrong_is_said_at_the_form_with_what_was_typed(
    client: httpx.AsyncClient, engine: Engine, typed: dict[str, str], message: str
) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
    url = f"{PATH}/{pipeline}/edit"
    fields = _fields((await client.get(url)).text)
    answer = await client.post(url, data={**fields, **typed})
    assert answer.status_code == 422
    assert message in answer.text
    assert 'aria-invalid="true"' in answer.text
    assert next(iter(typed.values())) in _fields(answer.text).values()
    # What cannot be swapped in would not be seen: htmx shows successes only.
    assert (await client.post(url, data={**fields, **typed}, headers=PART)).status_code == 200
    confirmed = await client.post(url, data={**fields, **typed, "confirmed": "true"})
    assert confirmed.status_code == 422
    assert _stored(engine, pipeline)["updated_at"] is None


async def test_a_schedule_comes_with_its_next_runs_and_an_owner_with_tags(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection, pipeline_metadata={"tags": ["old"], "team": "sales"})
    url = f"{PATH}/{pipeline}/edit"
    typed = {"schedule": "0 2 * * *", "schedule_timezone": "europe/berlin", "schedule_grace_minutes": "20"}
    typed |= {"owner": "ada", "runbook_url": "https://wiki.example/orders", "tags": "new, nightly ,new"}
    shown = await client.post(url, data={**_fields((await client.get(url)).text), **typed})
    assert _changes(shown.text) == [
        ("Schedule", "none", "0 2 * * *"),
        ("Time zone", "UTC", "Europe/Berlin"),
        ("Grace", "10 minutes", "20 minutes"),
        ("Owner", "none", "ada"),
        ("Runbook", "none", "https://wiki.example/orders"),
        ("Tags", "old", "new, nightly"),
    ]
    assert re.findall(r"<li>\w{3} [\d-]{10} (\d\d:\d\d) CES?T", shown.text) == ["02:00"] * 5

    await client.post(url, data={**_fields(shown.text), "confirmed": "true"})
    stored = _stored(engine, pipeline)
    assert (stored["schedule_timezone"], stored["schedule_grace_minutes"]) == ("Europe/Berlin", 20)
    assert stored["pipeline_metadata"] == {"team": "sales", "tags": ["new", "nightly"]}
    assert (stored["owner"], stored["expected_next_run"] > now()) == ("ada", True)


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ({"schedule": "*/7 * * * *", "schedule_timezone": "Asia/Kolkata", "schedule_grace_minutes": "5"}, " IST "),
        ({"schedule": "*/7 * * *", "schedule_grace_minutes": "5"}, "It must be five-field cron"),
        ({"schedule": "0 0 31 2 *", "schedule_grace_minutes": "5"}, "a moment that comes"),
        ({"schedule": "0 2 * * *", "schedule_timezone": "Mars", "schedule_grace_minutes": "5"}, "IANA name"),
        ({"schedule": "0 2 * * *", "schedule_grace_minutes": "²"}, "It must be minutes"),
        ({}, "Without a schedule no run is expected"),
    ],
)
async def test_the_next_runs_are_said_while_a_schedule_is_typed(
    client: httpx.AsyncClient, typed: dict[str, str], says: str
) -> None:
    answer = await client.get(f"{PATH}/next-runs", params=typed, headers=PART)
    assert answer.status_code == 200
    assert says in answer.text


async def test_nothing_different_is_said_so(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
    url = f"{PATH}/{pipeline}/edit"
    assert "Nothing is different yet" in (await client.post(url, data=_fields((await client.get(url)).text))).text


async def test_who_confirms_what_is_no_longer_so_is_shown_what_is(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection, freshness_number=1, freshness_datepart="day")
    url = f"{PATH}/{pipeline}/edit"
    fields = _fields((await client.get(url)).text)
    seen = await client.post(url, data={**fields, "freshness_number": "3"})
    with engine.begin() as connection:
        change_pipeline(connection, pipeline, freshness_number=2, mute_freshness_check=True)

    again = await client.post(url, data={**_fields(seen.text), "confirmed": "true"})
    assert "This pipeline has been changed meanwhile" in again.text
    assert _changes(again.text) == [("Stale after", "2 days", "3 days")]
    assert _stored(engine, pipeline)["freshness_number"] == 2

    done = await client.post(url, data={**_fields(again.text), "confirmed": "true"})
    assert done.status_code == 303
    stored = _stored(engine, pipeline)
    assert stored["freshness_number"] == 3
    # What somebody else changed and this form did not stays.
    assert stored["mute_freshness_check"] is True


async def test_a_paused_pipeline_that_is_activated_is_expected_again(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection, active=False, schedule="0 * * * *")
    url = f"{PATH}/{pipeline}/edit"
    fields = {**_fields((await client.get(url)).text), "active": "true"}
    shown = await client.post(url, data=fields)
    assert _changes(shown.text) == [("Pipeline", "paused", "active")]
    await client.post(url, data={**_fields(shown.text), "confirmed": "true"})
    assert _stored(engine, pipeline)["expected_next_run"] > now()


async def test_to_htmx_a_change_is_an_event(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
    url = f"{PATH}/{pipeline}/edit"
    form = await client.get(url, headers=PART)
    assert "<html" not in form.text
    fields = {name: value for name, value in _fields(form.text).items() if name != "active"}
    shown = await client.post(url, data=fields, headers=PART)
    done = await client.post(url, data={**_fields(shown.text), "confirmed": "true"}, headers=PART)
    assert (done.status_code, done.headers["hx-trigger"]) == (204, "pipelines-changed")
    assert _stored(engine, pipeline)["active"] is False


@pytest.mark.parametrize(
    "back",
    ["//evil.example", "https://evil.example", "/ui/pipelines\\x", "/ui/pipelines?q=\n", "/ui/pipelines/é", "/ui"],
)
async def test_one_goes_back_to_a_page_of_pipelines_only(client: httpx.AsyncClient, engine: Engine, back: str) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
    fields = _fields((await client.get(f"{PATH}/{pipeline}/edit", params={"back": back})).text)
    assert fields["back"] == PATH
    shown = await client.post(f"{PATH}/{pipeline}/edit", data={**fields, "mute_freshness_check": "true"})
    done = await client.post(f"{PATH}/{pipeline}/edit", data={**_fields(shown.text), "back": back, "confirmed": "true"})
    assert done.headers["location"] == PATH


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"original": "x"},
        {"original": "{}", "active": "perhaps"},
        {"original": "[1]"},
        {"original": json.dumps({"active": "evil"})},
    ],
)
async def test_a_form_that_is_none_is_refused(client: httpx.AsyncClient, engine: Engine, data: dict[str, str]) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
    assert (await client.post(f"{PATH}/{pipeline}/edit", data=data)).status_code == 422


@pytest.mark.parametrize("pipeline_id", ["7", "-1", "99999999999999999999", "x"])
async def test_a_pipeline_that_is_not_there_cannot_be_edited(client: httpx.AsyncClient, pipeline_id: str) -> None:
    html = {"accept": "text/html"}
    assert (await client.get(f"{PATH}/{pipeline_id}/edit", headers=html)).status_code in {404, 422}
    answer = await client.post(f"{PATH}/{pipeline_id}/edit", data={"original": "{}"}, headers=html)
    assert answer.status_code in {404, 422}


@pytest.mark.parametrize(
    ("action", "fields"),
    [
        ("mute", {"mute_freshness_check": True, "mute_timeliness_check": True}),
        ("unmute", {"mute_freshness_check": False, "mute_timeliness_check": False}),
        ("pause", {"active": False}),
        ("activate", {"active": True}),
    ],
)
async def test_many_are_changed_at_once_after_a_confirmation(
    client: httpx.AsyncClient, engine: Engine, action: str, fields: dict[str, Any]
) -> None:
    opposite: dict[str, Any] = {name: not value for name, value in fields.items()}
    with engine.begin() as connection:
        changed = [add_pipeline(connection, f"orders {number}", **opposite) for number in range(3)]
        already = add_pipeline(connection, "already", **fields)
        other = add_pipeline(connection, "other", **opposite)
    back = f"{PATH}?page=1"
    shown = await client.post(
        f"{PATH}/bulk", data={"action": action, "selected": [*map(str, changed), str(already), "999"], "back": back}
    )
    assert "3 pipelines" in shown.text
    assert "1 is" in shown.text
    assert _stored(engine, changed[0])["updated_at"] is None

    seen = re.search(r'name="seen" value="(\w+)"', shown.text)
    assert seen is not None
    confirmed = {"action": action, "selected": list(map(str, changed)), "back": back, "confirmed": "true"}
    done = await client.post(f"{PATH}/bulk", data={**confirmed, "seen": seen[1]})
    assert (done.status_code, done.headers["location"]) == (303, back)
    for pipeline in changed:
        assert fields.items() <= _stored(engine, pipeline).items()
    assert _stored(engine, already)["updated_at"] is None
    assert opposite.items() <= _stored(engine, other).items()


async def _confirm(client: httpx.AsyncClient, data: dict[str, Any]) -> str:
    """Post the form and confirm what it says; what it said."""
    shown = (await client.post(f"{PATH}/bulk", data=data)).text
    seen = re.search(r'name="seen" value="(\w+)"', shown)
    assert seen is not None, shown
    assert (await client.post(f"{PATH}/bulk", data={**data, "seen": seen[1], "confirmed": "true"})).status_code == 303
    return shown


async def test_all_that_fit_the_filters_are_changed_not_only_one_page(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    with engine.begin() as connection:
        orders = [add_pipeline(connection, f"orders {number}") for number in range(60)]
        other = add_pipeline(connection, "other")
    page = (await client.get(f"{PATH}?q=orders")).text
    offered = re.search(r'name="everything" value="([^"]+)"', page)
    assert offered is not None
    assert "All 60 that fit the filters" in page
    everything = {"everything": unescape(offered[1])}

    assert "60 pipelines" in await _confirm(client, {"action": "pause", **everything})
    assert not any(_stored(engine, pipeline)["active"] for pipeline in (orders[0], orders[59]))
    assert _stored(engine, other)["active"]

    thresholds = {"action": "thresholds", "freshness_number": "36", "freshness_datepart": "hour"}
    assert (
        "What is left blank stays"
        in (await client.post(f"{PATH}/bulk", data={"action": "thresholds", **everything})).text
    )
    half = await client.post(f"{PATH}/bulk", data={**thresholds, **everything, "freshness_datepart": ""})
    assert (half.status_code, "give both" in half.text) == (422, True)
    assert "Stale after: <strong>36 hours" in await _confirm(client, {**thresholds, **everything})
    assert _stored(engine, orders[59])["freshness_number"] == 36
    await _confirm(client, {"action": "thresholds", "unset": "freshness", **everything})
    assert _stored(engine, orders[59])["freshness_number"] is None

    assert "its open" not in await _confirm(client, {"action": "archive", **everything})
    assert _stored(engine, orders[59])["archived_at"] is not None
    assert "No pipeline fits" in (await client.get(f"{PATH}?q=orders")).text
    assert (
        "no filters of the list"
        in (await client.post(f"{PATH}/bulk", data={"action": "mute", "everything": "?state=evil"})).text
    )


async def test_many_are_confirmed_again_when_somebody_was_faster(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        pipelines = [add_pipeline(connection, f"orders {number}") for number in range(3)]
    data = {"action": "pause", "selected": list(map(str, pipelines))}
    seen = re.search(r'name="seen" value="(\w+)"', (await client.post(f"{PATH}/bulk", data=data)).text)
    assert seen is not None
    with engine.begin() as connection:
        change_pipeline(connection, pipelines[0], active=False)
    again = await client.post(f"{PATH}/bulk", data={**data, "seen": seen[1], "confirmed": "true"})
    assert "Some of them have been changed meanwhile" in again.text
    assert "2 pipelines" in again.text
    assert _stored(engine, pipelines[1])["active"] is True


async def test_one_that_is_refused_leaves_all_as_they_were(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        good = add_pipeline(connection, "good", active=False)
        nowhere: dict[str, Any] = {"schedule": "0 * * * *", "schedule_timezone": "Moon/Base"}
        lost = add_pipeline(connection, "lost", active=False, **nowhere)
    data = {"action": "activate", "selected": [str(good), str(lost)]}
    seen = re.search(r'name="seen" value="(\w+)"', (await client.post(f"{PATH}/bulk", data=data)).text)
    assert seen is not None
    answer = await client.post(f"{PATH}/bulk", data={**data, "seen": seen[1], "confirmed": "true"})
    assert "Moon/Base is no time zone" in answer.text
    assert _stored(engine, good)["active"] is False

    url = f"{PATH}/{lost}/edit"
    shown = await client.post(url, data={**_fields((await client.get(url)).text), "active": "true"})
    refused = await client.post(url, data={**_fields(shown.text), "confirmed": "true"})
    assert "Moon/Base is no time zone" in refused.text


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"action": "mute"}, "No pipeline is selected"),
        ({"action": "unmute", "selected": "1"}, "not muted already"),
        ({"action": "evil", "selected": "1"}, None),
        ({"action": "mute", "selected": "x"}, None),
        ({"action": "mute", "selected": [str(number) for number in range(51)]}, None),
    ],
)
async def test_bulk_actions_that_cannot_be(
    client: httpx.AsyncClient, engine: Engine, data: dict[str, str], says: str | None
) -> None:
    with engine.begin() as connection:
        add_pipeline(connection)
    answer = await client.post(f"{PATH}/bulk", data=data)
    assert answer.status_code == (422 if says is None else 200)
    assert says is None or says in answer.text


async def test_who_may_only_read_sees_the_controls_disabled_and_changes_nothing(
    make_client: MakeClient, engine: Engine
) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
        token = create_token(connection, "a reader", "read")
    async with make_client(host="0.0.0.0") as client:  # noqa: S104 - no socket is opened
        client.headers.update(session_cookie(engine, token))
        assert "This needs the role editor" in (await client.get(PATH)).text
        form = await client.get(f"{PATH}/{pipeline}/edit")
        assert '<button class="primary" disabled' in form.text
        own = {"Sec-Fetch-Site": "same-origin"}
        fields = {**_fields(form.text), "confirmed": "true"}
        assert (await client.post(f"{PATH}/{pipeline}/edit", data=fields, headers=own)).status_code == 403
        foreign = {"Sec-Fetch-Site": "cross-site"}
        assert (await client.post(f"{PATH}/bulk", data={"action": "pause"}, headers=foreign)).status_code == 403
