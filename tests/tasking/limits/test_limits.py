"""What the limits are, and how somebody changes one while everything runs."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from sqlalchemy import Engine, text

from tests.cli.commands import Watcher, free_port
from tests.conftest import MakeClient
from watcher_server.settings import load_settings, rate_per_second
from watcher_server.tasking.limits.service import configured_limits, limit_text, limits_in_force

TASK = "detect_anomalies_task"
DOCUMENTED = {
    "detect_anomalies_task": 15,
    "freshness_check_task": 1,
    "timeliness_check_task": 1,
    "address_lineage_closure_rebuild_task": 1,
    "pipeline_execution_closure_maintain_task": 10,
}


def in_force(database_url: str) -> dict[str, float | None]:
    """As whoever publishes reads it."""
    with psycopg.connect(database_url) as connection:
        return limits_in_force(connection, configured_limits(load_settings()))


def let_overrides_end(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE rate_limit_override SET until = now()"))


async def listed(client: httpx.AsyncClient) -> dict[str, dict[str, Any]]:
    answer = await client.get("/rate-limits")
    assert answer.status_code == 200
    return {limit.pop("task"): limit for limit in answer.json()}


def test_the_documented_limits_are_configured() -> None:
    assert configured_limits(load_settings()) == DOCUMENTED


def test_each_limit_is_a_setting() -> None:
    settings = load_settings(
        detect_anomalies_rate_limit="2/s",
        freshness_check_rate_limit="90/m",
        timeliness_check_rate_limit="360/h",
        lineage_closure_rate_limit="none",
        execution_closure_rate_limit="0.5/s",
    )

    assert list(configured_limits(settings).values()) == [2, 1.5, 0.1, None, 0.5]


@pytest.mark.parametrize("limit", ["15/s", "0.5/h", "90/m", "500/h", "7/h", "none", "100000/s", "1/s"])
def test_a_limit_is_written_as_it_was_read(limit: str) -> None:
    assert limit_text(rate_per_second(limit)) == limit


async def test_the_list_says_what_is_configured_and_what_holds(client: httpx.AsyncClient) -> None:
    limits = await listed(client)

    assert list(limits) == list(DOCUMENTED)
    assert limits[TASK] == {"configured": "15/s", "in_force": "15/s", "until": None}


async def test_a_limit_is_lifted_for_a_while(client: httpx.AsyncClient, database_url: str, engine: Engine) -> None:
    answer = await client.put(f"/rate-limits/{TASK}", json={"limit": " NONE ", "minutes": 30})

    assert answer.status_code == 200
    limit = answer.json()
    assert (limit["task"], limit["configured"], limit["in_force"]) == (TASK, "15/s", "none")
    assert timedelta(minutes=29) < datetime.fromisoformat(limit["until"]) - datetime.now(UTC) <= timedelta(minutes=30)
    assert (await listed(client))[TASK] == {"configured": "15/s", "in_force": "none", "until": limit["until"]}
    assert in_force(database_url) == {**DOCUMENTED, TASK: None}

    let_overrides_end(engine)

    assert (await listed(client))[TASK] == {"configured": "15/s", "in_force": "15/s", "until": None}
    assert in_force(database_url) == DOCUMENTED


async def test_the_last_change_holds(client: httpx.AsyncClient, database_url: str) -> None:
    await client.put(f"/rate-limits/{TASK}", json={"limit": "none", "minutes": 1440})
    answer = await client.put(f"/rate-limits/{TASK}", json={"limit": "100/s"})

    until = datetime.fromisoformat(answer.json()["until"])
    assert timedelta(minutes=59) < until - datetime.now(UTC) <= timedelta(minutes=60)
    assert in_force(database_url)[TASK] == 100


async def test_a_limit_can_be_set_where_none_is_configured(make_client: MakeClient) -> None:
    async with make_client(detect_anomalies_rate_limit="none") as client:
        answer = await client.put(f"/rate-limits/{TASK}", json={"limit": "2/m"})

    assert (answer.json()["configured"], answer.json()["in_force"]) == ("none", "2/m")


async def test_the_configured_limit_is_put_back(client: httpx.AsyncClient, database_url: str) -> None:
    await client.put(f"/rate-limits/{TASK}", json={"limit": "100/s"})

    answers = [await client.delete(f"/rate-limits/{TASK}") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [204, 204]
    assert in_force(database_url) == DOCUMENTED


@pytest.mark.parametrize("task", ["deliver_alert_task", "nothing", "%00"])
async def test_a_task_without_a_limit_is_404(client: httpx.AsyncClient, task: str) -> None:
    put = await client.put(f"/rate-limits/{task}", json={"limit": "1/s"})
    delete = await client.delete(f"/rate-limits/{task}")

    assert (put.status_code, delete.status_code) == (404, 404)
    assert TASK in put.json()["detail"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "limit"),
        ({"limit": None}, "limit"),
        ({"limit": "fast"}, "limit"),
        ({"limit": "0/s"}, "limit"),
        ({"limit": "-1/s"}, "limit"),
        ({"limit": "nan/s"}, "limit"),
        ({"limit": "1e9/s"}, "limit"),
        ({"limit": "1/d"}, "limit"),
        ({"limit": 15}, "limit"),
        ({"limit": "1/s", "minutes": 0}, "minutes"),
        ({"limit": "1/s", "minutes": 1441}, "minutes"),
        ({"limit": "1/s", "minutes": None}, "minutes"),
    ],
)
async def test_what_is_no_limit_is_422(client: httpx.AsyncClient, body: dict[str, Any], field: str) -> None:
    answer = await client.put(f"/rate-limits/{TASK}", json=body)

    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", field]


@pytest.fixture
def watcher(tmp_path: Path) -> Watcher:
    return Watcher(tmp_path / "home", free_port(), tmp_path)


def test_the_command_shows_changes_and_resets(watcher: Watcher, engine: Engine, database_url: str) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO rate_limit_override VALUES ('freshness_check_task', 2, '2999-01-02 03:04+02')")
        )

    changed = watcher.run("limits", "set", TASK, "none", "--minutes", "30", database_url=database_url)
    shown = watcher.run("limits", database_url=database_url)

    assert changed.stdout.startswith(f"The limit of {TASK} is none until ")
    assert changed.stdout.endswith(" UTC, then 15/s again.\n")
    cells = {line.split()[1]: line.split()[3::2] for line in shown.stdout.splitlines() if "_task" in line}
    assert list(cells) == list(DOCUMENTED)
    assert cells[TASK][:2] == ["15/s", "none"]
    assert "│ Wed 01:04" in shown.stdout
    assert in_force(database_url)[TASK] is None

    reset = watcher.run("limits", "reset", TASK, database_url=database_url)

    assert reset.stdout == f"The limit of {TASK} is 15/s, as configured.\n"
    assert in_force(database_url)[TASK] == 15


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["set", TASK, "fast"], 'watcher: The limit must be a rate such as "15/s", "90/m" or "500/h", or "none".'),
        (["set", "sweep", "1/s"], "watcher: No task of this name has a rate limit; those that do are detect_anomalies"),
        (["reset", "sweep"], "watcher: No task of this name has a rate limit; those that do are detect_anomalies"),
    ],
)
@pytest.mark.usefixtures("engine")
def test_a_command_that_cannot_work_is_one_sentence(
    watcher: Watcher, database_url: str, arguments: list[str], sentence: str
) -> None:
    refused = watcher.run("limits", *arguments, database_url=database_url)

    assert refused.returncode == 1
    assert refused.stderr.startswith(sentence)
    assert len(refused.stderr.splitlines()) == 1
