"""Names are text: what steers a terminal is refused in new ones, and does no harm in those that are stored."""

import json
import logging
import re
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest
from rich.console import Console
from sqlalchemy import Engine

from tests.support.rows import add_pipeline
from watcher_server.cli.tasks_view import render_list
from watcher_server.kit.text import escape_controls
from watcher_server.tasking.history.schemas import TaskSummary
from watcher_server.telemetry.logs import JsonLogFormatter, PlainFormatter
from watcher_server.telemetry.server_logs import ServerFormatter
from watcher_server.telemetry.worker_logs import WorkerFormatter, WorkerTaskFormatter

# Clears the screen, in both spellings; begins a line; reads backwards.
STEERING = ["a\x1b[2Jb", "a\x9b2Jb", "a\nb", "a\u2028b", "a\u202eb", "a\u2066b", "a\u200fb", "a\x7fb"]
KIND = {"address_type_name": "t", "address_type_group_name": "g"}


@pytest.mark.parametrize("name", STEERING, ids=ascii)
@pytest.mark.parametrize(
    ("path", "fields", "field"),
    [
        ("/pipeline", {"pipeline_type_name": "t"}, "name"),
        ("/pipeline", {"name": "p"}, "pipeline_type_name"),
        ("/pipeline_type", {}, "name"),
        ("/address", KIND, "name"),
        ("/address", KIND | {"name": "a"}, "address_type_name"),
        ("/address", KIND | {"name": "a"}, "address_type_group_name"),
        ("/address", KIND | {"name": "a"}, "schema_name"),
        ("/address_type", {"group_name": "g"}, "name"),
        ("/address_type", {"name": "t"}, "group_name"),
    ],
)
async def test_a_new_name_steers_nothing(
    client: httpx.AsyncClient, path: str, fields: dict[str, str], field: str, name: str
) -> None:
    answer = await client.post(path, json={**fields, field: name})

    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", field]
    assert "control characters" in answer.json()["detail"][0]["msg"]


async def test_what_is_stored_can_be_read_changed_and_renamed(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection, "a\x1b[2jb")

    assert (await client.get(f"/pipeline/{pipeline}")).json()["name"] == "a\x1b[2jb"
    for key in ({"id": pipeline}, {"name": "a\x1b[2jb"}):
        assert (await client.patch("/pipeline", json={**key, "active": False})).status_code == 200
    answer = await client.patch("/pipeline", json={"id": pipeline, "name": "c\x1bd"})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "name"]
    assert (await client.patch("/pipeline", json={"id": pipeline, "name": "cd"})).json()["name"] == "cd"


def _record(message: str, *arguments: Any) -> logging.LogRecord:
    record = logging.LogRecord("watcher_server", logging.WARNING, __file__, 1, message, arguments, None)
    record.color_message = message
    try:
        raise ValueError("gone \x1b[2J")  # noqa: TRY301 - the traceback is wanted
    except ValueError as error:
        record.exc_info = (type(error), error, error.__traceback__)
    return record


@pytest.mark.parametrize(
    "formatter",
    [
        PlainFormatter(),
        ServerFormatter("%(levelprefix)s %(message)s", use_colors=True),
        WorkerFormatter("%(message)s", use_color=True),
        WorkerTaskFormatter("%(task_name)s %(message)s", use_color=True),
        JsonLogFormatter(),
    ],
    ids=lambda formatter: type(formatter).__name__,
)
@pytest.mark.parametrize("name", [name for name in STEERING if name != "a\nb"], ids=ascii)
def test_no_log_passes_it_on(formatter: logging.Formatter, name: str) -> None:
    line = formatter.format(_record("Pipeline %s is stale", name))

    colourless = re.sub(r"\x1b\[[0-9;]*m", "", line)
    assert escape_controls(colourless, keep_layout=True) == colourless
    if isinstance(formatter, JsonLogFormatter):
        assert json.loads(line)["message"] == f"Pipeline {name} is stale"
    else:
        assert f"Pipeline {escape_controls(name)} is stale" in colourless
        assert "gone \\x1b[2J" in colourless


def test_the_tables_of_the_commands_show_it_escaped() -> None:
    fields: dict[str, Any] = dict.fromkeys(TaskSummary.model_fields)
    fields |= {"id": uuid4(), "name": "a\x1b[2J[red]b", "state": "PENDING"}
    fields |= {"created_at": datetime.now(UTC), "failed_tries": 0}
    console = Console(width=200, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(render_list([TaskSummary.model_construct(**fields)], 200))
    assert "a\\x1b[2J[red]b" in capture.get()
