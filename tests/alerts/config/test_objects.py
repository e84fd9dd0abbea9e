"""Channels, routes, calendars and windows over HTTP."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.auth.test_access import bearer, make_token
from tests.conftest import MakeClient

KEY = "k" * 44
SLACK = {"type": "slack", "url": {"env": "TEAM_SLACK"}}
OFFICE = {"zone": "europe/berlin", "weekly": "mon-fri 08:00-18:00", "except": ["2026-12-25"]}


async def _put(client: httpx.AsyncClient, path: str, body: dict[str, Any], status: int = 201) -> Any:
    answer = await client.put(f"/alerting/{path}", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


class TestChannels:
    async def test_the_channel_of_the_settings_is_always_there(self, client: httpx.AsyncClient) -> None:
        (channel,) = (await client.get("/alerting/channels")).json()
        assert (channel["name"], channel["type"], channel["state"], channel["waiting"]) == (
            "default",
            "default",
            "unused",
            0,
        )
        assert (await client.delete("/alerting/channels/default")).status_code == 409
        assert (await client.put("/alerting/channels/default", json=SLACK)).status_code == 422

    async def test_a_channel_is_made_changed_and_removed(self, client: httpx.AsyncClient) -> None:
        made = await _put(client, "channels/data-slack", SLACK)
        assert (made["spec"], made["type"], made["origin"]) == (SLACK, "slack", None)
        changed = await _put(client, "channels/data-slack", {**SLACK, "cap": "20/10m"}, 200)
        assert changed["spec"]["cap"] == "20/10m"
        assert (await client.delete("/alerting/channels/data-slack")).status_code == 204
        assert (await client.get("/alerting/channels/data-slack")).status_code == 404

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            ({"type": "fax"}, "'type'"),
            ({"type": "slack"}, "either a url, or a token and a channel"),
            ({**SLACK, "chanel": "C1"}, "Extra inputs are not permitted"),
            ({**SLACK, "cap": "many"}, "such as 20/10m"),
            ({"type": "slack", "url": {"env": "WATCHER_SECRET_KEY"}}, "must not be a setting of Watcher's own"),
            ({"type": "slack", "url": {"file": "/proc/self/environ"}}, "full path of a file that holds the secret"),
            ({"type": "slack", "url": {"env": "watcher_secret_key"}}, "must not be a setting of Watcher's own"),
            ({"type": "slack", "url": {"file": "//proc/self/environ"}}, "full path of a file that holds the secret"),
            ({"type": "slack", "url": {"file": "/./proc/1/environ"}}, "full path of a file that holds the secret"),
            ({"type": "slack", "url": 5}, "must be {env: NAME} or {file: PATH}"),
            ({"type": "slack", "url": {"stored": True}}, "is not stored for this channel"),
            ({"type": "email", "host": "m", "from": "a@b", "to": "c@d", "username": "u"}, "go together"),
        ],
    )
    async def test_what_is_wrong_is_named_and_changes_nothing(
        self, client: httpx.AsyncClient, body: dict[str, Any], said: str
    ) -> None:
        answer = await client.put("/alerting/channels/x", json=body)
        assert answer.status_code == 422
        assert said in answer.json()["detail"][0]["msg"], answer.text
        assert (await client.get("/alerting/channels/x")).status_code == 404

    async def test_a_secret_in_plain_is_kept_encrypted_and_never_shown(
        self, make_client: MakeClient, engine: Engine
    ) -> None:
        secret = "https://hooks.slack.example/T0/secret-part"
        async with make_client(secret_key=KEY) as client:
            made = await client.put("/alerting/channels/s", json={"type": "slack", "url": secret})
            again = await client.put("/alerting/channels/s", json={**made.json()["spec"], "cap": "5/1m"})
            shown = await client.get("/alerting/channels")
        assert made.json()["spec"]["url"] == {"stored": True}
        assert again.status_code == 200
        with engine.connect() as connection:
            stored = connection.execute(text("SELECT spec::text, secrets FROM channel WHERE name = 's'")).one()
        assert stored.secrets
        assert "secret-part" not in f"{made.text}{again.text}{shown.text}{stored.spec}{stored.secrets!r}"

    async def test_without_a_key_a_secret_in_plain_is_refused(self, client: httpx.AsyncClient) -> None:
        answer = await client.put("/alerting/channels/s", json={"type": "slack", "url": "https://x.example/s3cr3t"})
        assert answer.status_code == 422
        assert "WATCHER_SECRET_KEY is not set" in answer.text
        assert "s3cr3t" not in answer.text

    async def test_one_signing_key_may_stand_for_a_list_of_one(self, client: httpx.AsyncClient) -> None:
        made = await _put(client, "channels/hook", {**SLACK, "type": "webhook", "signing_keys": {"env": "A"}})
        assert made["spec"]["signing_keys"] == [{"env": "A"}]

    async def test_a_stored_secret_is_sent_to_no_other_place(self, make_client: MakeClient) -> None:
        async with make_client(secret_key=KEY) as client:
            mail = {
                "type": "email",
                "host": "smtp.example",
                "from": "a@b.example",
                "to": "c@d.example",
                "username": "u",
            }
            await _put(client, "channels/mail", {**mail, "password": "s3cr3t"})
            kept = {**mail, "password": {"stored": True}}
            for elsewhere in ({"host": "elsewhere.example"}, {"security": "none"}, {"port": 2525}):
                answer = await client.put("/alerting/channels/mail", json={**kept, **elsewhere})
                assert answer.status_code == 422
                assert "is stored for another place than this: give it again" in answer.text
            await _put(client, "channels/mail", {**kept, "to": ["e@f.example"]}, 200)
            manager = {"type": "alertmanager", "url": "https://one.example", "username": "u", "password": "s3cr3t"}
            await _put(client, "channels/manager", manager)
            moved = {**manager, "url": "https://two.example", "password": {"stored": True}}
            assert (await client.put("/alerting/channels/manager", json=moved)).status_code == 422

    async def test_a_channel_that_routes_name_stays(self, client: httpx.AsyncClient) -> None:
        await _put(client, "channels/a", SLACK)
        await _put(client, "routes/one", {"to": "default", "fallback": "a"})
        await _put(client, "routes/two", {"to": "default", "escalate": [{"after": "15m", "to": "a"}]})
        answer = await client.delete("/alerting/channels/a")
        assert answer.status_code == 409
        assert "the routes 'one', 'two'" in answer.json()["detail"]

    async def test_what_waits_for_a_channel_that_is_removed_goes_to_the_default_one(
        self, client: httpx.AsyncClient, engine: Engine
    ) -> None:
        await _put(client, "channels/a", SLACK)
        with engine.begin() as connection:
            connection.execute(
                text("""
                WITH raised AS (
                    INSERT INTO alert (dedupe_key, level, title, message)
                    VALUES ('one', 'INFO', 't', 'm'), ('two', 'INFO', 't', 'm') RETURNING id, dedupe_key
                )
                INSERT INTO notification (alert_id, channel)
                SELECT id, 'a' FROM raised UNION ALL SELECT id, 'default' FROM raised WHERE dedupe_key = 'two'
                """)
            )
        await client.delete("/alerting/channels/a")
        with engine.connect() as connection:
            rows = connection.execute(text("SELECT channel, state FROM notification")).all()
        assert sorted(map(tuple, rows)) == [("a", "given_up"), ("default", "waiting"), ("default", "waiting")]


class TestRoutes:
    async def test_without_any_everything_goes_to_the_default_channel(self, client: httpx.AsyncClient) -> None:
        (route,) = (await client.get("/alerting/routes")).json()
        assert (route["name"], route["spec"]) == ("default", {"to": ["default"]})

    async def test_they_are_asked_in_their_order_and_default_last(self, client: httpx.AsyncClient) -> None:
        for name in ("default", "b", "c"):
            await _put(client, f"routes/{name}", {"to": ["default"]})
        await _put(client, "routes/a", {"to": ["default"], "before": "b"})
        assert await _names(client) == ["a", "b", "c", "default"]
        await _put(client, "routes/a", {"to": ["default"], "before": "default"}, 200)
        await _put(client, "routes/b", {"to": ["default"], "updates": "all"}, 200)
        assert await _names(client) == ["b", "c", "a", "default"]

    async def test_the_last_one_cannot_be_removed_or_leave_anything_out(self, client: httpx.AsyncClient) -> None:
        assert (await client.delete("/alerting/routes/default")).status_code == 409
        for body in ({"match": {"owner": "x"}}, {"continue": True}):
            answer = await client.put("/alerting/routes/default", json={"to": "default", **body})
            assert answer.status_code == 422
            assert "'default'" in answer.text

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            ({"to": ["pager"]}, "the channel 'pager'"),
            ({"to": ["default"], "fallback": "mail"}, "the channel 'mail'"),
            ({"to": ["default"], "hours": {"calendar": "office"}}, "the calendar 'office'"),
            ({"to": ["default"], "before": "finance"}, "the route 'finance'"),
            ({"to": []}, "at least 1 item"),
            ({"to": ["default"], "match": {"kind": "broken"}}, "'failing'"),
            ({"to": ["default"], "match": {"level": ">WARNING"}}, "one of INFO"),
            ({"to": ["default"], "repeat": "4 hours"}, "such as 30s, 15m, 4h or 2d"),
            ({"to": ["default"], "repeat": "0s"}, "a minute at least"),
            ({"to": ["default"], "digest": {"at": "24:30"}}, "match pattern"),
        ],
    )
    async def test_what_is_wrong_is_named_and_changes_nothing(
        self, client: httpx.AsyncClient, body: dict[str, Any], said: str
    ) -> None:
        answer = await client.put("/alerting/routes/x", json=body)
        assert answer.status_code == 422
        assert said in answer.json()["detail"][0]["msg"]
        assert await _names(client) == ["default"]

    async def test_everything_that_it_takes_comes_back(self, client: httpx.AsyncClient) -> None:
        await _put(client, "calendars/office", OFFICE)
        spec = {
            "match": {"owner": ["finance"], "pipeline": ["orders *"], "kind": ["failing"], "level": ">=WARNING"},
            "to": ["default"],
            "continue": True,
            "group_by": ["root", "owner"],
            "group_wait": "90s",
            "repeat": "4h",
            "updates": "all",
            "hours": {"calendar": "office", "outside": "hold", "except": "CRITICAL"},
            "escalate": [{"after": "15m", "to": ["default"]}],
            "digest": {"at": "08:30", "zone": "Europe/Berlin"},
            "fallback": "default",
        }
        assert (await _put(client, "routes/finance", spec))["spec"] == spec
        assert (await client.get("/alerting/routes/finance")).json()["spec"] == spec


async def _names(client: httpx.AsyncClient) -> list[str]:
    return [route["name"] for route in (await client.get("/alerting/routes")).json()]


class TestCalendars:
    async def test_a_calendar_that_a_route_names_stays(self, client: httpx.AsyncClient) -> None:
        made = await _put(client, "calendars/office", OFFICE)
        assert made["spec"] == {**OFFICE, "zone": "Europe/Berlin", "weekly": ["mon-fri 08:00-18:00"]}
        await _put(client, "routes/a", {"to": "default", "hours": {"calendar": "office"}})
        answer = await client.delete("/alerting/calendars/office")
        assert answer.status_code == 409
        assert "the route 'a'" in answer.json()["detail"]
        await client.delete("/alerting/routes/a")
        assert (await client.delete("/alerting/calendars/office")).status_code == 204

    @pytest.mark.parametrize("weekly", ["monday 08:00-18:00", "mon 8-18", "mon-fri 25:00-26:00", "mon 08:00-08:00"])
    async def test_hours_that_are_none_are_refused(self, client: httpx.AsyncClient, weekly: str) -> None:
        answer = await client.put("/alerting/calendars/x", json={**OFFICE, "weekly": weekly})
        assert answer.status_code == 422


class TestWindows:
    async def test_a_script_quietens_its_pipelines_with_one_request(
        self, make_client: MakeClient, engine: Engine
    ) -> None:
        headers = bearer(make_token(engine, "write"))
        body = {"match": {"pipeline": "orders *"}, "minutes": 30}
        async with make_client() as client:
            made = (await client.post("/alerting/windows", json=body, headers=headers)).json()
            ended = await client.post(f"/alerting/windows/{made['name']}/end", headers=headers)
        assert made["state"] == "now"
        length = datetime.fromisoformat(made["ends_at"]) - datetime.fromisoformat(made["begins_at"])
        assert timedelta(minutes=29) < length <= timedelta(minutes=30)
        assert ended.json()["state"] == "over"

    @pytest.mark.parametrize("when", [{}, {"cron": "0 22 * * SAT", "duration": "4h"}, {"until": "2999-01-01T00:00Z"}])
    async def test_what_does_not_end_is_for_administrators(
        self, make_client: MakeClient, engine: Engine, when: dict[str, Any]
    ) -> None:
        body = {"match": {"kind": "stale"}, **when}
        async with make_client() as client:
            statuses = [
                (
                    await client.post("/alerting/windows", json=body, headers=bearer(make_token(engine, scope, scope)))
                ).status_code
                for scope in ("read", "write", "admin")
            ]
        assert statuses == [403, 403, 201]

    async def test_a_name_is_taken_until_its_window_is_over(self, client: httpx.AsyncClient) -> None:
        body = {"name": "deploy", "match": {"pipeline": "orders"}, "minutes": 5}
        statuses = [(await client.post("/alerting/windows", json=body)).status_code for _ in range(2)]
        await client.post("/alerting/windows/deploy/end")
        statuses.append((await client.post("/alerting/windows", json=body)).status_code)
        assert statuses == [201, 409, 201]

    async def test_those_that_ended_long_ago_are_forgotten(self, client: httpx.AsyncClient) -> None:
        past = {"from": "2020-01-01T00:00Z", "until": "2020-01-02T00:00Z"}
        await _put(client, "windows/old", {"match": {"kind": "stale"}, **past})
        await client.post("/alerting/windows", json={"name": "new", "match": {"kind": "stale"}, "minutes": 5})
        assert [window["name"] for window in (await client.get("/alerting/windows")).json()] == ["new"]

    async def test_one_that_comes_again_says_when(self, client: httpx.AsyncClient) -> None:
        body = {"cron": "0 22 * * SAT", "duration": "4h", "zone": "Europe/Berlin", "match": {"type": "dbt"}}
        window = await _put(client, "windows/warehouse", body)
        ends_at = datetime.fromisoformat(window["ends_at"])
        assert window["state"] in {"now", "next"}
        assert datetime.now(UTC) < ends_at <= datetime.now(UTC) + timedelta(days=8)

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            ({"match": {}, "minutes": 5}, "must name what is quiet"),
            ({"match": {"pipeline": None}, "minutes": 5}, "must name what is quiet"),
            ({"match": {"kind": "stale"}, "cron": "0 1 * * *", "duration": "0s"}, "a minute at least"),
            ({"match": {"kind": "stale"}, "minutes": 5, "until": "2030-01-01T00:00Z"}, "either minutes"),
            ({"match": {"kind": "stale"}, "cron": "0 1 * * *"}, "cron and duration go together"),
            ({"match": {"kind": "stale"}, "from": "2030-01-02T00:00Z", "until": "2030-01-01T00:00Z"}, "after from"),
            ({"match": {"kind": "stale"}, "minutes": 0}, "greater than or equal to 1"),
        ],
    )
    async def test_what_is_wrong_is_named(self, client: httpx.AsyncClient, body: dict[str, Any], said: str) -> None:
        answer = await client.post("/alerting/windows", json=body)
        assert answer.status_code == 422
        assert said in answer.json()["detail"][0]["msg"]
        assert (await client.get("/alerting/windows")).json() == []


@pytest.mark.parametrize(("scope", "status"), [("read", 403), ("write", 403), ("admin", 201)])
async def test_who_is_told_is_changed_by_administrators(
    make_client: MakeClient, engine: Engine, scope: str, status: int
) -> None:
    headers = bearer(make_token(engine, scope))
    async with make_client() as client:
        assert (await client.get("/alerting/routes", headers=headers)).status_code == 200
        answers = [
            await client.put(f"/alerting/{path}", json=body, headers=headers)
            for path, body in (("channels/a", SLACK), ("calendars/c", OFFICE), ("routes/r", {"to": "default"}))
        ]
    assert [answer.status_code for answer in answers] == [status] * 3
