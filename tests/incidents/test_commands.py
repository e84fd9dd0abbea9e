"""``watcher incidents``: seeing what is wrong and doing something about it, from a terminal."""

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import NoneType
from typing import NamedTuple, get_args, get_type_hints

import pytest
from sqlalchemy import Engine

from tests.incidents.records import add_incident, events, incident
from tests.support.hostile import MARKUP
from tests.support.rows import add_pipeline, add_run, ago
from watcher_server.alerts.levels import Level
from watcher_server.alerts.service import NewAlert, Subject, raise_alert
from watcher_server.cli import incidents as commands
from watcher_server.cli.main import main
from watcher_server.incidents.kinds import Kind
from watcher_server.incidents.reading import WantedState


class Ended(NamedTuple):
    """How a command ended, and what it said."""

    status: int
    out: str
    error: str


Run = Callable[..., Ended]
SOON = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)


@pytest.fixture
def run(engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """``watcher incidents …``, in this process, on the database of the test."""

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["watcher", "incidents", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return Ended(int(ended.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture
def failing(engine: Engine) -> int:
    with engine.begin() as connection:
        orders = add_pipeline(connection, owner="finance", runbook_url="https://runbook")
        failed = add_run(connection, orders, completed_successfully=False, execution_metadata={"error": "no table"})
        found = {"level": "ERROR", "execution_id": failed, "detail": f"Execution ID {failed}: no table"}
        return add_incident(connection, orders, "failing", **found)


def test_the_words_of_the_options_are_those_of_incidents() -> None:
    assert set(get_args(get_type_hints(commands.show_all)["kind"])) == {Kind, NoneType}
    assert set(get_args(commands.State)) == {state.value for state in WantedState} | {"all"}


def test_the_list_has_a_line_for_each_incident(engine: Engine, failing: int, run: Run) -> None:
    with engine.begin() as connection:
        effect = add_incident(connection, add_pipeline(connection, "revenue"), root_id=failing, state="acknowledged")
        over = add_incident(connection, None, "queue", subject="alerts", resolved_at=ago(hours=1))
    header, *lines = run("list").out.splitlines()
    every = run("list", "--state", "all").out

    assert header.split() == ["ID", "Level", "State", "Kind", "Of", "Since", "(UTC)", "Owner", "Assigned"]
    assert [line.split()[:5] for line in lines] == [
        [str(failing), "ERROR", "open", "failing", "orders"],
        [str(effect), "WARNING", "acknowledged", "stale", "revenue"],
    ]
    assert "(1 more because of it)" in lines[0]
    assert f"because of #{failing}" in lines[1]
    assert every.splitlines()[-1].split()[:5] == [str(over), "WARNING", "resolved", "queue", "alerts"]


def test_the_list_takes_filters(engine: Engine, failing: int, run: Run) -> None:
    for options in (
        ("--state", "open"),
        ("--kind", "failing"),
        ("--owner", "Finance"),
        ("--pipeline", "1"),
        ("--search", "TABLE"),
        ("--since", "2026-01-01"),
    ):
        assert "orders" in run("list", *options).out, options
    for options in (("--state", "resolved"), ("--kind", "stale"), ("--tag", "gold"), ("--root", "1")):
        assert run("list", *options).out.startswith("No incident is like that"), options


def test_nothing_wrong_is_said(engine: Engine, run: Run) -> None:
    assert run("list").out.startswith("Nothing is wrong: no incident is open.")
    assert json.loads(run("list", "--json").out) == []


def test_a_limit_says_that_there_are_more(engine: Engine, run: Run) -> None:
    with engine.begin() as connection:
        for name in ("orders", "prices"):
            add_incident(connection, add_pipeline(connection, name))
    cut = run("list", "--limit", "1")

    assert ("prices" in cut.out) != ("orders" in cut.out)
    assert "There are more: raise --limit" in cut.out


def test_one_incident_says_everything(engine: Engine, failing: int, run: Run) -> None:
    with engine.begin() as connection:
        add_incident(connection, add_pipeline(connection, "revenue"), root_id=failing)
        raise_alert(connection, NewAlert("key", Level.ERROR, "Pipeline Failing", "m", subjects=[Subject(failing)]))
    run("comment", str(failing), "It is the network.")
    text = run("show", str(failing)).out

    for words in (
        "orders (pipeline 1)",
        "no table",
        "https://runbook",
        "Because of it",
        "stale: revenue",
        "commented",
        "It is the network.",
        "ERROR Pipeline Failing",
        "waiting",
    ):
        assert words in text, words


def test_json_is_as_the_api_answers(engine: Engine, failing: int, run: Run) -> None:
    (listed,) = json.loads(run("list", "--json").out)
    whole = json.loads(run("show", str(failing), "--json").out)

    assert (listed["id"], listed["version"], listed["owner"]) == (failing, 1, "finance")
    assert {name: whole[name] for name in listed} == listed
    assert whole["evidence"]["run"]["error"] == "no table"


def test_taking_an_incident_and_giving_it_back(engine: Engine, failing: int, run: Run) -> None:
    ended = run("ack", str(failing), "--for", "4h")
    assert (ended.status, ended.out) == (0, f"Incident {failing} (orders, failing) is acknowledged for a while.\n")
    with engine.connect() as connection:
        found = incident(connection, failing)
        hours = (found["acknowledged_until"] - datetime.now(UTC)) / timedelta(hours=1)
    assert (found["state"], found["acknowledged_by"], 3.9 < hours <= 4) == ("acknowledged", "cli", True)

    assert "is open again" in run("unack", str(failing)).out
    assert "is assigned to Ada Lovelace" in run("assign", str(failing), "Ada Lovelace").out
    assert "is assigned to nobody" in run("assign", str(failing)).out
    assert "is snoozed." in run("snooze", str(failing), "--worse").out
    assert "is snoozed no more" in run("unsnooze", str(failing)).out
    with engine.connect() as connection:
        assert [event[:2] for event in events(connection, failing)] == [
            (change, "cli")
            for change in ("acknowledged", "unacknowledged", "assigned", "assigned", "snoozed", "unsnoozed")
        ]


@pytest.mark.parametrize(
    ("options", "stored"),
    [
        (("--next-run",), ("next_run", None)),
        (("--worse",), ("worse", None)),
        (("--until", SOON.isoformat()), ("time", SOON)),
    ],
)
def test_snoozing(engine: Engine, failing: int, run: Run, options: tuple[str, ...], stored: tuple[str, object]) -> None:
    assert run("snooze", str(failing), *options).status == 0
    with engine.connect() as connection:
        found = incident(connection, failing)
    assert (found["snooze"], found["snoozed_until"]) == stored


def test_what_holds_needs_force(engine: Engine, failing: int, run: Run) -> None:
    refused = run("resolve", str(failing))
    assert (refused.status, refused.out) == (1, "")
    assert "still holds" in refused.error
    assert len(refused.error.splitlines()) == 1

    assert "is resolved." in run("resolve", str(failing), "--force").out
    with engine.connect() as connection:
        assert incident(connection, failing)["quiet"] is True


def test_of_several_those_that_can_be_are_done(engine: Engine, failing: int, run: Run) -> None:
    with engine.begin() as connection:
        over = add_incident(connection, 1, "late", resolved_at=ago(hours=1))
    ended = run("ack", str(failing), str(over), "99", str(failing))

    assert ended.status == 1
    assert ended.out == f"Incident {failing} (orders, failing) is acknowledged.\n"
    assert f"Incident {over} is resolved since" in ended.error
    assert "No incident has the id 99" in ended.error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("show", "99"), "No incident has the id 99"),
        (("show", str(2**63)), "No incident has the id"),
        (("ack", "1", "--for", "soon"), "write 45m, 4h or 2d"),
        (("ack", "1", "--for", "9999d"), "within a year"),
        (("ack", "1", "--for", "999999d"), "within a year"),
        (("ack", "1", "--for", "1h", "--until", "2030-01-01"), "either with --for or with --until"),
        (("ack", "1", "--until", "2020-01-01"), "in the future"),
        (("snooze", "1"), "in one way"),
        (("snooze", "1", "--worse", "--next-run"), "in one way"),
        (("assign", "1", "a\nb"), "control characters"),
        (("assign", "1", ""), "at least 1 character"),
        (("comment", "1", " "), "at least 1 character"),
        (("comment", "99", "hello"), "No incident has the id 99"),
        (("list", "--since", "yesterday"), "--since cannot be that"),
        (("list", "--pipeline", str(2**63)), "--pipeline cannot be that"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(failing: int, run: Run, arguments: tuple[str, ...], words: str) -> None:
    ended = run(*arguments)

    assert (ended.status, ended.out) == (1, "")
    assert words in ended.error
    assert len(ended.error.splitlines()) == 1


def test_hostile_names_and_comments_steer_no_terminal(engine: Engine, run: Run) -> None:
    hostile = f"{MARKUP}\x1b[2J[red]\u202e{'🦊' * 20}\n"
    with engine.begin() as connection:
        pipeline = add_pipeline(connection, hostile[:150], owner=hostile[:100])
        id_ = add_incident(connection, pipeline, detail=hostile, assignee=hostile[:150], acknowledged_by=hostile[:150])
        add_incident(connection, None, "task", subject=hostile)
    run("comment", str(id_), hostile)
    for ended in (run("list"), run("show", str(id_)), run("ack", str(id_))):
        assert (ended.status, ended.error) == (0, "")
        assert "\x1b" not in ended.out
        assert "\u202e" not in ended.out
        assert "[red]" in ended.out or "…" in ended.out


def test_help_says_what_each_does(run: Run) -> None:
    for command in ("list", "show", "ack", "unack", "assign", "snooze", "unsnooze", "resolve", "comment"):
        ended = run(command, "--help")
        assert (ended.status, ended.out.count("Usage: watcher incidents")) == (0, 1), command
