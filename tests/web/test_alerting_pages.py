"""The pages of channels, routes and windows."""

import re
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.auth.test_access import bearer, make_token
from tests.conftest import MakeClient
from tests.support.http_sink import http_sink

SLACK = {"type": "slack", "url": {"env": "TEAM_SLACK"}}


async def _open(client: httpx.AsyncClient, path: str, **query: str) -> str:
    answer = await client.get(f"/ui/{path}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.text


async def _post(client: httpx.AsyncClient, path: str, status: int = 303, **form: Any) -> httpx.Response:
    answer = await client.post(f"/ui/{path}", data=form)
    assert answer.status_code == status, answer.text
    return answer


async def _follow(client: httpx.AsyncClient, path: str, **form: Any) -> str:
    """The page that a form leads to."""
    answer = await client.get((await _post(client, path, **form)).headers["location"])
    assert answer.status_code == 200
    return answer.text


class TestChannels:
    async def test_a_team_sets_up_slack_and_e_mail(self, make_client: MakeClient) -> None:
        async with make_client(secret_key="k" * 44) as client:
            assert "Everything goes to one place" in await _open(client, "channels")
            page = await _follow(
                client, "channels/edit", type="slack", name="data", url="https://x.example/secret-part"
            )
            assert "data is saved." in page
            mail: dict[str, Any] = {
                "host": "smtp.example.com",
                "from": "w@example.com",
                "to": "a@example.com\r\nb@example.com\r\n",
            }
            await _post(client, "channels/edit", type="email", name="mail", port="465", security="tls", **mail)
            channels = {row["name"]: row["spec"] for row in (await client.get("/alerting/channels")).json()}
            form = await _open(client, "channels/edit", name="data")
        assert channels["data"] == {"type": "slack", "url": {"stored": True}}
        assert channels["mail"]["to"] == ["a@example.com", "b@example.com"]
        assert channels["mail"]["port"] == 465
        assert 'name="url" value="stored"' in form
        assert "secret-part" not in form

    async def test_a_stored_secret_stays_when_the_form_is_saved_again(
        self, make_client: MakeClient, engine: Engine
    ) -> None:
        statement = text("SELECT secrets FROM channel WHERE name = 'data'")
        async with make_client(secret_key="k" * 44) as client:
            await _post(client, "channels/edit", type="slack", name="data", url="https://x.example/s")
            with engine.connect() as connection:
                before = connection.scalar(statement)
            await _post(client, "channels/edit", type="slack", name="data", url="stored", cap="5/1m")
            with engine.connect() as connection:
                assert connection.scalar(statement) == before

    @pytest.mark.parametrize(
        ("form", "said"),
        [
            ({"type": "teams", "name": "t"}, "URL of the workflow is missing."),
            ({"type": "webhook", "name": "w", "url": "env:X"}, "Signing keys are missing."),
            ({"type": "slack", "name": "s"}, "The channel: a Slack channel has either a url"),
            (
                {"type": "discord", "name": "d", "url": "env:X", "cap": "often"},
                "At most: must be messages per duration",
            ),
            ({"type": "discord", "name": "d/d", "url": "env:X"}, "A name has 1 to 50 letters"),
            ({"type": "discord", "name": "d", "url": "https://x.example/secret-part"}, "Webhook URL cannot be kept"),
            ({"type": "discord", "name": "default", "url": "env:X"}, "must not be &#39;default&#39;"),
        ],
    )
    async def test_what_is_wrong_is_said_beside_what_was_typed_but_for_secrets(
        self, client: httpx.AsyncClient, form: dict[str, str], said: str
    ) -> None:
        page = (await _post(client, "channels/edit", 422, **form, is_new="true")).text
        assert said in page
        assert f'value="{form["name"]}"' in page
        assert "secret-part" not in page

    async def test_a_test_says_what_came_of_it(self, make_client: MakeClient) -> None:
        with http_sink() as sink:
            async with make_client(slack_webhook_url=sink.url) as client:
                sink.say(status=404, word="no_team")
                page = await _follow(client, "channels/test", name="default")
                assert "The test of default did not work" in page
                page = await _follow(client, "channels/test", name="default")
                assert "Both messages of the test arrived in default." in page

    async def test_what_did_not_arrive_is_sent_again(self, client: httpx.AsyncClient, engine: Engine) -> None:
        await client.put("/alerting/channels/data", json=SLACK)
        with engine.begin() as connection:
            connection.execute(
                text("""
                WITH raised AS (
                    INSERT INTO alert (dedupe_key, level, title, message)
                    SELECT n::text, 'INFO', 't', 'm' FROM generate_series(1, 3) AS n RETURNING id, dedupe_key
                )
                INSERT INTO notification (alert_id, channel, state, attempts)
                SELECT id, 'data', CASE dedupe_key WHEN '1' THEN 'sent' WHEN '2' THEN 'given_up' ELSE 'waiting' END, 1
                FROM raised
                """)
            )
        assert "2 messages to data are tried again now." in await _follow(client, "channels/resend", name="data")
        with engine.connect() as connection:
            states = connection.scalars(text("SELECT state FROM notification ORDER BY id")).all()
        assert states == ["sent", "waiting", "waiting"]

    async def test_a_channel_whose_test_failed_does_not_look_well(self, make_client: MakeClient) -> None:
        with http_sink() as sink:
            async with make_client(slack_webhook_url=sink.url) as client:
                await _follow(client, "channels/test", name="default")
                assert ">ok</span>" in re.sub(r"<svg.*?</svg>", ">", await _open(client, "channels"))
                sink.say(status=404, word="no_team")
                await _follow(client, "channels/test", name="default")
                page = await _open(client, "channels")
        assert "test failed" in page
        assert ">ok</span>" not in re.sub(r"<svg.*?</svg>", ">", page)

    async def test_one_that_is_in_use_is_not_removed(self, client: httpx.AsyncClient) -> None:
        await client.put("/alerting/channels/data", json=SLACK)
        await client.put("/alerting/routes/r", json={"to": "data"})
        answer = await client.post("/ui/channels/remove", data={"name": "data"}, headers={"Accept": "text/html"})
        assert answer.status_code == 409
        assert "the route &#39;r&#39;" in answer.text


class TestRoutes:
    async def test_they_stand_in_their_order_with_what_each_took(
        self, client: httpx.AsyncClient, engine: Engine
    ) -> None:
        await client.put("/alerting/channels/pager", json=SLACK)
        typed = "match: {owner: finance, level: '>=WARNING'}\nto: [pager]\nescalate: [{after: 15m, to: pager}]\n"
        page = await _follow(client, "routes/edit", name="finance", text=typed)
        assert "finance is saved." in page
        await _post(client, "routes/edit", name="first", text="to: [default]\ncontinue: true\n", before="finance")
        with engine.begin() as connection:
            connection.execute(
                text("""
                WITH raised AS (
                    INSERT INTO alert (dedupe_key, level, title, message) VALUES ('a', 'INFO', 't', 'm') RETURNING id
                )
                INSERT INTO notification (alert_id, channel, route) SELECT id, 'pager', 'finance' FROM raised
                """)
            )
        page = await _open(client, "routes")
        assert re.findall(r"edit\?name=([a-z]+)", page) == ["first", "finance", "default"]
        assert "owner finance; WARNING or worse" in page
        assert "if nobody acknowledges within 15m: pager" in page
        assert re.findall(r'<td class="number">(\d+)</td>', page) == ["0", "1", "0"]

    @pytest.mark.parametrize(
        ("typed", "said"),
        [
            ("to: [pager]", "Line 1, column 5: &#39;to&#39; names the channel &#39;pager&#39;"),
            ("too: [default]", "Line 1, column 1: &#39;to&#39; is missing here"),
            ("to: [default]\r\nupdates: maybe", "Line 2, column 10: &#39;updates&#39;: Input should be"),
            ("to: [", "Line 1, column 6: this is no YAML"),
            ("to", "Line 1, column 1: it must say names and values"),
        ],
    )
    async def test_a_mistake_is_said_with_its_line(self, client: httpx.AsyncClient, typed: str, said: str) -> None:
        page = (await _post(client, "routes/edit", 422, name="r", text=typed, is_new="true")).text
        assert said in page
        assert [route["name"] for route in (await client.get("/alerting/routes")).json()] == ["default"]

    async def test_a_route_reads_in_the_order_of_the_documentation(self, client: httpx.AsyncClient) -> None:
        hours = {"except": "CRITICAL", "outside": "drop", "calendar": "office"}
        route = {"to": "default", "hours": hours, "repeat": "4h", "match": {"kind": "stale", "owner": "finance"}}
        await client.put("/alerting/calendars/office", json={"zone": "UTC", "weekly": ["mon 08:00-18:00"]})
        await client.put("/alerting/routes/r", json=route)
        text = re.findall("<textarea[^>]*>(.*?)</textarea>", await _open(client, "routes/edit", name="r"), re.DOTALL)[0]
        words = ["match", "owner", "kind", "to", "repeat", "hours", "calendar", "outside", "except"]
        assert re.findall(r"^ *(\w+):", text, re.MULTILINE) == words
        exported = (await client.get("/alerting/export")).json()["routes"][0]
        assert list(exported) == ["name", "match", "to", "repeat", "hours"]

    async def test_a_calendar_is_made_and_removed(self, client: httpx.AsyncClient) -> None:
        typed = "zone: Europe/Berlin\nweekly: [mon-fri 08:00-18:00]\nexcept: [2026-12-25]\n"
        page = await _follow(client, "routes/calendar", name="office", text=typed)
        assert "mon-fri 08:00-18:00" in page
        assert "2026-12-25" in page
        assert "office is removed." in await _follow(client, "routes/calendar/remove", name="office")

    async def test_what_comes_from_a_file_is_shown_and_not_changed(self, client: httpx.AsyncClient) -> None:
        document = {"version": 1, "routes": [{"name": "r", "to": "default"}]}
        await client.post("/alerting/apply", json={"document": document, "origin": "team.yaml"})
        page = await _open(client, "routes/edit", name="r")
        assert "It comes from the file team.yaml" in page
        assert re.search(r'<button class="primary" disabled title="It comes from a file">', page)
        answer = await client.post("/ui/routes/edit", data={"name": "r", "text": "to: [default]\nupdates: all"})
        assert answer.status_code == 409


class TestWindows:
    async def test_something_is_quietened_and_ended(self, client: httpx.AsyncClient) -> None:
        assert "Nothing is quiet" in await _open(client, "windows")
        page = await _follow(client, "windows", pipeline="orders *, revenue", kind="stale", minutes="30", note="deploy")
        assert "It is quiet from now on." in page
        assert "pipeline orders * or revenue; kind stale" in page
        name = re.findall(r'name="name" value="(quiet-[^"]+)"', page)[0]
        page = await _follow(client, "windows/end", name=name)
        assert 'id="over"' in page
        assert 'id="now"' not in page

    async def test_saturday_night_is_quiet_every_week(self, client: httpx.AsyncClient) -> None:
        typed = "cron: 0 22 * * SAT\nduration: 4h\nzone: Europe/Berlin\nmatch: {type: dbt}\n"
        page = await _follow(client, "windows/edit", name="saturday", text=typed)
        assert "0 22 * * SAT Europe/Berlin, for 4h" in page

    async def test_what_is_wrong_is_said(self, client: httpx.AsyncClient) -> None:
        page = (await _post(client, "windows", 422, minutes="30")).text
        assert "match must name what is quiet" in page
        assert "Choose how long" in (await _post(client, "windows", 422, pipeline="x", minutes="long")).text

    async def test_only_an_administrator_quietens_without_an_end(self, make_client: MakeClient, engine: Engine) -> None:
        form = {"pipeline": "orders", "minutes": "0"}
        async with make_client() as client:
            statuses = [
                (
                    await client.post("/ui/windows", data=form, headers=bearer(make_token(engine, scope, scope)))
                ).status_code
                for scope in ("write", "admin")
            ]
        assert statuses == [403, 303]


class TestWhoIsTold:
    async def test_the_page_of_a_pipeline_says_who_would_be_told(self, client: httpx.AsyncClient) -> None:
        body = {"name": "orders", "pipeline_type_name": "load", "owner": "finance"}
        pipeline = (await client.post("/pipeline", json=body)).json()["id"]
        await client.put("/alerting/channels/pager", json=SLACK)
        await client.put(
            "/alerting/routes/finance", json={"match": {"owner": "finance", "kind": "failing"}, "to": "pager"}
        )
        window = {"match": {"pipeline": "orders"}, "from": "2030-01-01T00:00Z", "until": "2030-01-02T00:00Z"}
        await client.put("/alerting/windows/moving", json=window)
        page = await _open(client, f"pipelines/{pipeline}", tab="told")
        told = re.findall(r'<th scope="row">.*?class="status (\w+)".*?<td class="wrap">(\w+)', page, re.DOTALL)
        others = ("lost", "silent", "missed", "late", "overlapping", "stale", "anomalous")
        assert told == [("failing", "pager"), *((kind, "default") for kind in others)]
        assert "not finance: the kind is stale, not failing" in page
        assert "moving" not in page
        assert "quiet by" in await _open(client, f"pipelines/{pipeline}", tab="told", at="2030-01-01T12:00")
        assert "at once" in await _open(client, f"pipelines/{pipeline}", tab="told", at="")
