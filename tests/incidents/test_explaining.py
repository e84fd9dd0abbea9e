"""Who would be told: over HTTP and in the terminal."""

import json
import sys
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from tests.support.routing import put_object, put_route, put_window
from tests.support.rows import add_pipeline, now
from watcher_server.cli.main import main

OFFICE = {"zone": "Europe/Berlin", "weekly": ["mon-fri 08:00-18:00"]}
SATURDAY_NIGHT = "2026-11-28T23:00:00+01:00"


def configure(engine: Engine) -> None:
    with engine.begin() as connection:
        add_pipeline(connection, "orders", owner="finance", criticality="high")
    put_object(engine, "calendar", "office", OFFICE)
    put_route(engine, "sales", match={"owner": ["sales"], "level": "WARNING"})
    put_route(
        engine, "finance", match={"owner": ["finance"]}, repeat="4h", fallback="mail",
        hours={"calendar": "office"}, escalate=[{"after": "15m", "to": ["pager"]}],
    )  # fmt: skip
    put_route(engine, "rest")


async def ask(client: httpx.AsyncClient, **query: str) -> dict[str, Any]:
    answer = await client.get("/alerting/explain", params={"pipeline": "Orders", "kind": "failing", **query})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_each_route_says_whether_it_takes_it_or_why_not(client: httpx.AsyncClient, engine: Engine) -> None:
    configure(engine)
    found = await ask(client, at=SATURDAY_NIGHT)
    assert (found["level"], found["owner"], found["window"]) == ("CRITICAL", "finance", None)
    sales, finance, rest, default = found["routes"]
    assert sales["why_not"] == ["the owner is finance, not sales", "the level is CRITICAL, not WARNING"]
    assert [sales["state"], finance["state"], rest["state"], default["state"]] == ["differs", "takes", "after", "after"]
    assert finance["told_at"] == "2026-11-30T07:00:00Z"
    assert finance["waits_for"] == "held until 2026-11-30 08:00 Europe/Berlin"
    assert finance["escalates"] == [{"after_seconds": 900.0, "to": ["pager"]}]


async def test_a_window_is_named_with_its_end_and_what_is_told_then(client: httpx.AsyncClient, engine: Engine) -> None:
    configure(engine)
    put_window(engine, "warehouse", cron="0 22 * * SAT", duration="60h", zone="Europe/Berlin")
    found = await ask(client, at=SATURDAY_NIGHT)
    assert (found["window"], found["quiet_until"]) == ("warehouse", "2026-12-01T09:00:00Z")
    assert found["routes"][1]["told_at"] is None


async def test_without_any_configuration_default_is_told_at_once(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        add_pipeline(connection)
    (route,) = (await ask(client))["routes"]
    assert (route["route"], route["channels"], route["told_at"]) == ("default", ["default"], None)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"kind": "failing"}, 422), ({"kind": "lost"}, 422), ({"kind": "overlapping"}, 422),
        ({"kind": "queue"}, 200), ({"kind": "failing", "pipeline": "nothing"}, 404),
        ({"kind": "wrong", "pipeline": "orders"}, 422), ({"kind": "stale", "pipeline": "1"}, 200),
        ({"kind": "stale", "pipeline": "orders", "at": "soon"}, 422),
    ],
)  # fmt: skip
async def test_what_cannot_be_answered_is_refused(
    client: httpx.AsyncClient, engine: Engine, query: dict[str, str], status: int
) -> None:
    configure(engine)
    assert (await client.get("/alerting/explain", params=query)).status_code == status


async def test_of_what_is_in_the_archive_nobody_would_be_told(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        number = add_pipeline(connection, "orders", archived_at=now())
    answer = await client.get("/alerting/explain", params={"kind": "failing", "pipeline": "orders"})
    assert (answer.status_code, "is in the archive" in answer.text) == (422, True)
    page = await client.get(f"/ui/pipelines/{number}", params={"tab": "told"})
    assert (page.status_code, "at once" in page.text) == (200, False)


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["watcher", "route", "explain", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    out, error = capsys.readouterr()
    return int(ended.value.code or 0), out or error


def test_the_command_says_it_in_a_few_lines(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(engine)
    status, out = run(
        monkeypatch, capsys, "--pipeline", "orders", "--kind", "failing", "--level", "error", "--at", SATURDAY_NIGHT
    )
    assert (status, out.splitlines()) == (0, [
        "failing of orders, ERROR, at 2026-11-28 22:00 UTC",
        "  sales: no, the owner is finance, not sales; the level is ERROR, not WARNING",
        "  finance: finance, told 2026-11-30 07:00 UTC (held until 2026-11-30 08:00 Europe/Berlin)",
        "    again every 4h while nobody has acknowledged it",
        "    after 15m unacknowledged: pager",
        "    mail, when a channel is broken",
        "  rest: no, a route before it takes it",
        "  default: no, a route before it takes it",
    ])  # fmt: skip


def test_the_command_answers_json_and_refuses_what_it_does_not_know(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(engine)
    status, out = run(monkeypatch, capsys, "--pipeline", "1", "--kind", "stale", "--json")
    assert (status, json.loads(out)["pipeline"]) == (0, "orders")
    for wrong in (["--pipeline", "nothing"], ["--pipeline", "1", "--at", "soon"], ["--pipeline", "1", "--level", "x"]):
        status, error = run(monkeypatch, capsys, "--kind", "stale", *wrong)
        assert status == 1
        assert error
