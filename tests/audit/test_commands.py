"""``watcher audit``, and the entries that commands leave."""

import json
import os
import pwd
import socket
import sys
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, text
from typer.main import get_command

from tests.audit.test_reading import add_entries
from tests.audit.test_routes import entries
from tests.incidents.records import add_incident
from tests.support.rows import add_pipeline
from tests.support.tasks import add_task
from watcher_server.cli.main import app, main

Run = Callable[..., tuple[int, str, str]]

# What a command changes by itself, in the database. Those that ask a server by HTTP leave the entries of its routes.
CHANGING = {
    "token create": (("nightly", "--scope", "read"), "create", "token"),
    "token rotate": (("old",), "rotate", "token"),
    "token revoke": (("old",), "revoke", "token"),
    "limits set": (("detect_anomalies_task", "none"), "override", "rate_limit"),
    "limits reset": (("detect_anomalies_task",), "reset", "rate_limit"),
    "tasks retry": (("--all-failed",), "retry", "task"),
    "openlineage replay": (("--failed",), "replay", "event"),
    "openlineage link": (("demo", "etl", "1"), "link", "pipeline"),
    "openlineage unlink": (("demo", "linked"), "unlink", "job"),
    "openlineage forget": (("demo", "linked"), "forget", "job"),
    "openlineage alias": (("s3://lake/raw", "1"), "join", "address"),
    "incidents ack": (("1",), "acknowledge", "incident"),
    "incidents unack": (("1",), "unacknowledge", "incident"),
    "incidents snooze": (("1", "--worse"), "snooze", "incident"),
    "incidents unsnooze": (("1",), "unsnooze", "incident"),
    "incidents assign": (("1", "ann"), "assign", "incident"),
    "incidents resolve": (("1", "--force"), "resolve", "incident"),
    "incidents comment": (("1", "I look at it"), "comment", "incident"),
}
_ADDRESS = """
WITH kind AS (INSERT INTO address_type (name, group_name) VALUES ('s3', 'file') RETURNING id)
INSERT INTO address (name, address_type_id) SELECT 'lake', id FROM kind
"""
NOT_CHANGING = {
    "up", "api", "worker", "beat", "migrate", "backup", "status", "export", "audit", "mcp", "token list",
    "tasks list", "tasks show", "incidents list", "incidents show", "route explain", "limits",
    "rules suggest", "rules try",
    "openlineage status", "openlineage failed", "openlineage show", "openlineage import",
}  # fmt: skip
# These send requests to a server, whose routes leave the entries.
BY_HTTP = {"apply", "channels test", "run", "demo", "dbt upload"}
# It replaces the whole database, with its trail.
WHOLE_DATABASE = {"restore"}


@pytest.fixture
def run(engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """``watcher …``, in this process, on the database of the test."""
    assert engine is not None

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["watcher", *arguments])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return run


def _commands(group: Any, above: str = "") -> set[str]:
    found = set()
    for name, command in group.commands.items():
        found |= _commands(command, f"{above}{name} ") if hasattr(command, "commands") else {f"{above}{name}"}
    return found


def test_every_command_is_known_here() -> None:
    there = _commands(get_command(app))
    known = {*CHANGING, *BY_HTTP, *WHOLE_DATABASE, *NOT_CHANGING}
    assert there - known == set(), "add it to CHANGING, or to those that change nothing themselves"


@pytest.mark.parametrize("command", CHANGING)
def test_a_command_leaves_an_entry_of_the_user_and_the_host(run: Run, engine: Engine, command: str) -> None:
    arguments, action, kind = CHANGING[command]
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
        snoozed = {"snooze": "worse"} if command == "incidents unsnooze" else {}
        taken = {"state": "acknowledged", "acknowledged_by": "bob"} if command == "incidents unack" else {}
        add_incident(connection, pipeline, **snoozed, **taken)
        add_task(connection, "FAILURE")
        connection.execute(text(_ADDRESS))
    for before in (
        ("token", "create", "old"),
        ("limits", "set", "detect_anomalies_task", "1/s"),
        ("openlineage", "link", "demo", "linked", "1"),
    ):
        run(*before)
    last = entries(engine)[-1]["id"]
    status, _, error = run(*command.split(), *arguments)
    assert status == 0, error
    (entry,) = entries(engine, last)
    user = pwd.getpwuid(os.getuid()).pw_name
    assert (entry["action"], entry["object_kind"], entry["actor_kind"]) == (action, kind, "cli")
    assert (entry["actor"], entry["source"]) == (user, f"{user}@{socket.gethostname()}")


def test_a_user_that_the_shell_claims_to_be_is_not_believed(
    run: Run, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("USER", "LOGNAME", "USERNAME"):
        monkeypatch.setenv(name, "mallory")
    run("token", "create", "nightly")
    assert [entry["actor"] for entry in entries(engine)] == [pwd.getpwuid(os.getuid()).pw_name]


def test_the_list_shows_who_what_and_how(run: Run, engine: Engine) -> None:
    add_entries(engine)
    status, out, _ = run("audit", "--kind", "pipeline")
    assert status == 0
    assert "owner: x → 100%_sure" in out
    assert out.index("archive pipeline Orders (7)") < out.index("change pipeline Orders (7)")
    assert "create channel" not in out
    for part in ("ann", "token, 10.0.0.7", "bob", "cli, bob@build-1"):
        assert part in out


def test_json_is_one_entry_on_each_line_the_oldest_first(run: Run, engine: Engine) -> None:
    add_entries(engine)
    found = [json.loads(line) for line in run("audit", "--json", "--since", "1h")[1].splitlines()]
    assert [entry["id"] for entry in found] == [1, 2, 3]
    assert run("audit", "--json", "--until", "1h")[1] == ""
    assert json.loads(run("audit", "--json", "--actor", "bob")[1])["action"] == "archive"


def test_nothing_is_said_in_a_sentence(run: Run, engine: Engine) -> None:
    assert run("audit")[1] == "Nothing was changed yet.\n"
    add_entries(engine)
    assert run("audit", "--actor", "nobody")[1] == "Nothing was changed that is like that.\n"
    _, out, _ = run("audit", "--limit", "1")
    assert "There are more: raise --limit" in out


@pytest.mark.parametrize("option", ["--since", "--until"])
def test_a_wrong_moment_is_one_sentence(run: Run, option: str) -> None:
    status, out, error = run("audit", option, "yesterday")
    assert (status, out) == (1, "")
    assert error.startswith(f"watcher: {option} cannot be that")
    assert error.count("\n") == 1
