"""Applying the file and exporting it again, by the API that the commands ask."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.conftest import MakeClient
from tests.support.rows import add_pipeline
from watcher_server.cli.config_file import explain
from watcher_server.config_file.service import merge_order
from watcher_server.config_file.text import read_yaml, write_yaml

EXAMPLE = Path(__file__).parents[2] / "deploy" / "watcher.yaml"
CHANNEL = "channels:\n  a: {type: slack, url: {env: TEAM_SLACK}}\n"
RUN_RULES = {
    "freshness_calendar": "mon-fri",
    "max_concurrent": 2,
    "overlap": "expected",
    "lost_after_hours": 6.0,
    "monotonic_watermark": True,
}


def soon() -> str:
    """A whole second of tomorrow, as answers have it."""
    return (datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)).isoformat().replace("+00:00", "Z")


async def _apply(client: httpx.AsyncClient, yaml: str, **options: Any) -> httpx.Response:
    body = {"document": read_yaml(yaml).value, "origin": "watcher.yaml", **options}
    return await client.post("/alerting/apply", json=body)


async def _plan(client: httpx.AsyncClient, yaml: str, **options: Any) -> Any:
    answer = await _apply(client, yaml, **options)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def _export(client: httpx.AsyncClient, **params: str) -> Any:
    return (await client.get("/alerting/export", params=params)).json()


def _done(plan: Any) -> list[tuple[str, str, str]]:
    return [(change["action"], change["kind"], change["name"]) for change in plan["changes"]]


async def _make_pipelines(client: httpx.AsyncClient, *names: str) -> None:
    for name in names:
        await client.post("/pipeline", json={"name": name, "pipeline_type_name": "load"})


async def _pipeline(client: httpx.AsyncClient, name: str) -> Any:
    (found,) = (await client.get("/pipeline", params={"name": name})).json()
    return found


class TestTheExample:
    async def test_it_is_applied_whole_and_exported_as_it_was(self, client: httpx.AsyncClient) -> None:
        await _make_pipelines(client, "orders nightly", "orders eu", "revenue")
        plan = await _plan(client, EXAMPLE.read_text())
        assert [change[0] for change in _done(plan)] == ["added"] * 9 + ["changed"] * 2
        written = write_yaml(await _export(client))
        again = await _plan(client, written)
        assert (again["changes"], again["unchanged"], again["taken_over"]) == ([], 11, 0)
        assert write_yaml(await _export(client)) == written

    async def test_it_says_what_holds_of_pipelines(self, client: httpx.AsyncClient) -> None:
        await _make_pipelines(client, "orders nightly", "revenue")
        await _plan(client, EXAMPLE.read_text())
        nightly, revenue = await _pipeline(client, "orders nightly"), await _pipeline(client, "revenue")
        assert (nightly["owner"], nightly["schedule"], nightly["fail_after"]) == ("finance", "0 2 * * *", 2)
        assert nightly["expected_next_run"]
        assert revenue["owner"] is None
        rules = (await client.get("/anomaly_detection_rule", params={"pipeline_id": nightly["id"]})).json()
        assert [rule["z_threshold"] for rule in rules if rule["metric_field"] == "total_rows"] == [4]


class TestPlans:
    async def test_a_dry_run_says_the_same_and_changes_nothing(self, client: httpx.AsyncClient) -> None:
        await _make_pipelines(client, "orders nightly")
        before = await _export(client, pipelines="true")
        dry = await _plan(client, EXAMPLE.read_text(), dry_run=True)
        assert await _export(client, pipelines="true") == before
        assert dry["changes"] == (await _plan(client, EXAMPLE.read_text()))["changes"]

    async def test_what_is_in_the_file_no_more_is_removed_with_prune_only(self, client: httpx.AsyncClient) -> None:
        routes = "routes:\n  - {name: r, to: a}\n"
        await _plan(client, f"version: 1\n{CHANNEL}{routes}")
        await client.put("/alerting/routes/by-hand", json={"to": "default"})
        left = [("left", "route", "r"), ("left", "channel", "a")]
        assert _done(await _plan(client, "version: 1")) == left
        removed = [("removed", "route", "r"), ("removed", "channel", "a")]
        assert _done(await _plan(client, "version: 1", prune=True)) == removed
        assert [route["name"] for route in (await client.get("/alerting/routes")).json()] == ["by-hand", "default"]

    async def test_nothing_is_removed_that_somebody_else_refers_to(self, client: httpx.AsyncClient) -> None:
        await _plan(client, f"version: 1\n{CHANNEL}")
        await client.put("/alerting/routes/by-hand", json={"to": "a"})
        answer = await _apply(client, "version: 1", prune=True)
        assert answer.status_code == 409
        assert "the route 'by-hand'" in answer.json()["detail"]

    async def test_what_the_api_made_is_taken_over_unchanged(self, client: httpx.AsyncClient) -> None:
        await client.put("/alerting/channels/a", json={"type": "slack", "url": {"env": "TEAM_SLACK"}})
        plan = await _plan(client, f"version: 1\n{CHANNEL}")
        assert (plan["changes"], plan["unchanged"], plan["taken_over"]) == ([], 1, 1)
        assert (await client.get("/alerting/channels/a")).json()["origin"] == "watcher.yaml"

    async def test_two_files_live_beside_each_other(self, client: httpx.AsyncClient) -> None:
        await _plan(client, f"version: 1\n{CHANNEL}", origin="one.yaml")
        assert _done(await _plan(client, "version: 1\nroutes: [{name: r, to: a}]", origin="two.yaml", prune=True)) == [
            ("added", "route", "r")
        ]
        changed = "version: 1\nchannels: {a: {type: teams, url: {env: TEAMS}}}"
        answer = await _apply(client, changed, origin="two.yaml")
        assert answer.status_code == 409
        assert "comes from the file one.yaml" in answer.json()["detail"]

    async def test_a_name_that_no_pipeline_has_is_said(self, client: httpx.AsyncClient) -> None:
        plan = await _plan(client, "version: 1\npipelines: [{pipeline: orders, owner: x}]")
        assert _done(plan) == [("unmatched", "pipeline", "orders")]

    async def test_a_secret_that_is_stored_stays(self, make_client: MakeClient, engine: Engine) -> None:
        async with make_client(secret_key="k" * 44) as client:
            await client.put("/alerting/channels/a", json={"type": "slack", "url": "https://x.example/secret-part"})
            with engine.connect() as connection:
                before = connection.scalar(text("SELECT secrets FROM channel WHERE name = 'a'"))
            exported = write_yaml(await _export(client))
            assert "secret-part" not in exported
            assert (await _plan(client, exported))["changes"] == []
            capped = exported.replace("type: slack", "cap: 5/1m\n    type: slack")
            assert _done(await _plan(client, capped)) == [("changed", "channel", "a")]
        with engine.connect() as connection:
            assert connection.scalar(text("SELECT secrets FROM channel WHERE name = 'a'")) == before

    async def test_every_pipeline_can_be_exported(self, client: httpx.AsyncClient) -> None:
        body = {"name": "orders", "pipeline_type_name": "load", "schedule": "0 2 * * *", "owner": "finance"}
        await client.post("/pipeline", json=body)
        await _make_pipelines(client, "plain")
        mute = {"mute_freshness_check": True, "mute_until": soon()}
        await client.patch("/pipeline", json={"name": "orders", **RUN_RULES, **mute})
        await _make_pipelines(client, "old")
        assert (await client.delete("/pipeline/3")).is_success
        exported = await _export(client, pipelines="true")
        orders = {"pipeline": "orders", "owner": "finance", "schedule": "0 2 * * *", **RUN_RULES, **mute}
        assert exported == {"version": 1, "pipelines": [orders, {"pipeline": "plain"}]}
        assert (await _plan(client, write_yaml(exported)))["changes"] == []

    async def test_a_mute_that_is_over_stays_over(self, client: httpx.AsyncClient) -> None:
        await _make_pipelines(client, "orders")
        entry = "{pipeline: orders, mute_freshness_check: true, mute_until: 2026-01-08T08:00:00Z}"
        for muted in (False, True):
            await client.patch("/pipeline", json={"name": "orders", "mute_freshness_check": muted})
            await _plan(client, f"version: 1\npipelines: [{entry}]")
            found = await _pipeline(client, "orders")
            assert (found["mute_freshness_check"], found["mute_until"]) == (False, None)

    async def test_what_is_in_the_archive_is_named_by_no_glob(self, client: httpx.AsyncClient) -> None:
        await _make_pipelines(client, "orders")
        await client.delete("/pipeline/1")
        plan = await _plan(client, "version: 1\npipelines: [{pipeline: 'o*', owner: x}]")
        assert _done(plan) == [("unmatched", "pipeline", "o*")]

    async def test_a_name_is_found_in_each_of_its_spellings(self, client: httpx.AsyncClient) -> None:
        await _make_pipelines(client, "caf\u00e9")
        plan = await _plan(client, "version: 1\npipelines: [{pipeline: 'CAFE\u0301', owner: x}]")
        assert _done(plan) == [("changed", "pipeline", "caf\u00e9")]


class TestReadOnly:
    async def test_retired_and_forgotten_pipelines_are_not_in_it_and_stay_as_they_are(
        self, client: httpx.AsyncClient, engine: Engine
    ) -> None:
        await _make_pipelines(client, "retired", "forgotten", "orders")
        await client.patch("/pipeline", json={"id": 1, "owner": "finance"})
        await client.delete("/pipeline/1")
        await client.delete("/pipeline/2", params={"forget": True})

        plan = await _plan(client, "version: 1\npipelines:\n  - {pipeline: '*', schedule: 0 2 * * *}\n")

        assert _done(plan) == [("changed", "pipeline", "orders")]
        assert [each["pipeline"] for each in (await _export(client, pipelines="true"))["pipelines"]] == ["orders"]
        with engine.connect() as connection:
            scheduled = connection.scalars(text("SELECT id FROM pipeline WHERE schedule IS NOT NULL")).all()
        assert scheduled == [3]

    async def test_a_glob_means_a_name_however_its_accents_are_encoded(self, client: httpx.AsyncClient) -> None:
        await _make_pipelines(client, "Caf\u00e9 orders")

        plan = await _plan(client, "version: 1\npipelines:\n  - {pipeline: 'Cafe\u0301 *', owner: finance}\n")

        assert _done(plan) == [("changed", "pipeline", "caf\u00e9 orders")]
        assert (await client.patch("/pipeline", json={"id": 1, "owner": "sales"})).status_code == 409

    async def test_how_runs_overlap_is_exported_and_applied_whatever_the_length_of_the_name(
        self, client: httpx.AsyncClient, engine: Engine
    ) -> None:
        with engine.begin() as connection:
            add_pipeline(connection, 300 * "é", max_concurrent=1, overlap="expected", freshness_calendar="mon-fri")
        written = write_yaml(await _export(client, pipelines="true"))

        assert _done(await _plan(client, written)) == []
        said = {"max_concurrent": 1, "overlap": "expected", "freshness_calendar": "mon-fri"}
        assert (await _export(client))["pipelines"] == [{"pipeline": 300 * "é", **said}]

    async def test_what_comes_from_a_file_is_changed_there_alone(self, client: httpx.AsyncClient) -> None:
        await _make_pipelines(client, "orders nightly")
        await _plan(client, EXAMPLE.read_text())
        nightly = await _pipeline(client, "orders nightly")
        (rule,) = [
            rule
            for rule in (await client.get("/anomaly_detection_rule", params={"pipeline_id": nightly["id"]})).json()
            if rule["metric_field"] == "total_rows"
        ]
        answers = [
            await client.put("/alerting/channels/pager", json={"type": "teams", "url": {"env": "T"}}),
            await client.delete("/alerting/routes/finance"),
            await client.put("/alerting/routes/default", json={"to": "default"}),
            await client.delete("/alerting/calendars/office"),
            await client.post("/alerting/windows/moving-house/end"),
            await client.patch("/pipeline", json={"name": "orders nightly", "owner": "somebody"}),
            await client.patch("/anomaly_detection_rule", json={"id": rule["id"], "z_threshold": 2}),
            await client.post(
                "/anomaly_detection_rule",
                json={"pipeline_id": nightly["id"], "metric_field": "total_rows", "direction": "both"},
            ),
        ]
        assert [answer.status_code for answer in answers] == [409] * len(answers)
        assert all("comes from the file watcher.yaml" in answer.json()["detail"] for answer in answers)

    async def test_what_the_file_does_not_say_is_free(self, client: httpx.AsyncClient) -> None:
        await _make_pipelines(client, "orders nightly")
        await _plan(client, EXAMPLE.read_text())
        same = {"owner": "finance", "runbook_url": "https://x.example/runbook"}
        answer = await client.patch("/pipeline", json={"name": "orders nightly", **same})
        assert answer.status_code == 200

    async def test_a_pipeline_still_declares_itself(self, client: httpx.AsyncClient) -> None:
        await _make_pipelines(client, "orders nightly")
        await _plan(client, EXAMPLE.read_text())
        body = {"name": "orders nightly", "pipeline_type_name": "load", "owner": "its own code"}
        assert (await client.post("/pipeline", json=body)).status_code == 200
        assert _done(await _plan(client, EXAMPLE.read_text())) == [("changed", "pipeline", "orders nightly")]


@pytest.mark.parametrize(
    ("yaml", "place", "said"),
    [
        ("versoin: 1", (1, 1), "'version' is missing here"),
        ("version: 2", (1, 10), "'version': Input should be 1"),
        ("chanels: {}", (2, 1), "there is nothing called 'chanels' here"),
        ("routes:\n  - name: r\n    to: pager", (4, 9), "'to' names the channel 'pager'"),
        ("routes:\n  - {name: r, to: default, hours: {calendar: o}}", (3, 35), "'hours' names"),
        ("routes:\n  - to: default", (3, 5), "'name' is missing here"),
        ("routes:\n  - {name: r, to: default, mach: 1}", (3, 28), "there is nothing called 'mach'"),
        ("routes:\n  - {name: r, to: default, repeat: 4 hours}", (3, 36), "'repeat' must be a dur"),
        ("routes: [{name: default, to: default}, {name: r, to: default}]", (2, 17), "'name' must"),
        ("routes: [{name: r, to: default}, {name: r, to: default}]", (2, 41), "'name' is there t"),
        ("channels:\n  a:\n    type: fax", (4, 5), "'a': Input tag 'fax'"),
        ("channels:\n  a: {type: slack, url: {evn: X}}", (3, 25), "'url' must be {env: NAME}"),
        ("channels:\n  a: {type: slack, url: 'https://x/s'}", (3, 6), "'a' must not hold a secret"),
        ("channels:\n  a: {type: slack, url: {stored: true}}", (3, 25), "'url' is not stored"),
        ("calendars:\n  o: {zone: Mars, weekly: mon 08:00-09:00}", (3, 13), "'zone' must be the IANA"),
        ("windows:\n  - {name: w, cron: 0 1 * *, duration: 1h, match: {kind: stale}}", (3, 21), "'cron' m"),
        ("pipelines:\n  - {pipeline: orders, freshness_number: 1}", (3, 5), "'pipelines': freshness"),
        ("pipelines:\n  - {pipeline: orders, rules: [{metric_field: rows}]}", (3, 47), "'metric_field': "),
    ],
)  # fmt: skip
async def test_a_mistake_is_one_sentence_with_its_place_and_changes_nothing(
    client: httpx.AsyncClient, yaml: str, place: tuple[int, int], said: str
) -> None:
    await _make_pipelines(client, "orders")
    # What is right beside it is not done either.
    whole = (
        ("" if "ver" in yaml else "version: 1\n")
        + yaml
        + ("\ncalendars: {fine: {zone: UTC, weekly: mon 08:00-09:00}}" if "calendars" not in yaml else "")
    )
    answer = await _apply(client, whole)
    assert answer.status_code == 422, answer.text
    assert explain(Path("watcher.yaml"), read_yaml(whole), answer).startswith(
        f"watcher.yaml, line {place[0]}, column {place[1]}: {said}"
    )
    assert await _export(client) == {"version": 1}


@pytest.mark.parametrize(
    ("before", "names", "after"),
    [
        ("", "ab", "ab"),
        ("ab", "ba", "ba"),
        ("xay", "ab", "xaby"),
        ("xay", "ba", "xbay"),
        ("axb", "ba", "bxa"),
        ("axb", "acb", "acxb"),
        ("x", "ab", "xab"),
        ("axb", "", "axb"),
    ],
)
def test_the_routes_of_a_file_stand_in_its_order_among_the_others(
    before: Sequence[str], names: Sequence[str], after: str
) -> None:
    assert "".join(merge_order(before, names)) == after
