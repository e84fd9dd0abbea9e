"""Each way to change the configuration leaves one entry that names who it was."""

import re
from datetime import timedelta
from html import unescape
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, select, update

from tests.audit.cases import CASES, REPORTS, Case, plain, writing_routes
from tests.support.hostile import add_hostile_scene
from tests.support.logins import session_cookie
from tests.support.rows import now, rows
from watcher_server.addresses.models import Address, AddressType
from watcher_server.anomalies.models import UnflaggedAnomaly
from watcher_server.app import create_app
from watcher_server.audit.models import AuditEntry
from watcher_server.auth.people import note_person
from watcher_server.auth.scopes import Scope
from watcher_server.auth.service import create_token, find_token
from watcher_server.auth.sessions import create_session
from watcher_server.pipelines.models import Pipeline, PipelineType
from watcher_server.settings import load_settings

TOKEN = "ann"
BROWSER = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def scene(engine: Engine) -> dict[str, Any]:
    """Something of each kind to change, by the names of the parameters."""
    with engine.begin() as connection:
        ids = add_hostile_scene(connection)
        # Names as people give them; the hostile ones are for the pages.
        connection.execute(update(Pipeline).values(name="orders"))
        connection.execute(update(PipelineType).values(name="load"))
        connection.execute(update(AddressType).values(name="table", group_name="database"))
        connection.execute(update(Address).where(Address.id == 1).values(name="raw"))
        other = create_token(connection, "other", "read")
        note_person(connection, issuer="https://login.example", subject="1", name="ann", scope=Scope.READ)
        soon = (now() + timedelta(hours=1)).isoformat()
        known = find_token(connection, other)
        create_session(connection, token_id=known.id if known else 0, address="127.0.0.1", browser="a test")
        return {
            **ids,
            "type": "load",
            "name": "one",
            "default": "default",
            "key_id": 1,
            "task": "detect_anomalies_task",
            "soon": soon,
            "unflagged_at": soon,
        }


@pytest.fixture
def token(engine: Engine) -> str:
    with engine.begin() as connection:
        return create_token(connection, TOKEN, "admin")


def entries(engine: Engine, after: int = 0) -> list[dict[str, Any]]:
    """The audit trail after an entry, the oldest first."""
    with engine.connect() as connection:
        return [row for row in rows(connection, AuditEntry) if row["id"] > after]


def _fill(given: Any, scene: dict[str, Any]) -> Any:
    """The same, with ids in the place of their names."""
    if isinstance(given, dict):
        return {name: _fill(value, scene) for name, value in given.items()}
    if isinstance(given, list):
        return [_fill(value, scene) for value in given]
    if not isinstance(given, str):
        return given
    whole = re.fullmatch(r"\{(\w+)\}", given)
    return scene[whole[1]] if whole else re.sub(r"\{(\w+)\}", lambda found: str(scene[found[1]]), given)


async def _send(
    client: httpx.AsyncClient, case: Case, scene: dict[str, Any], token: str, engine: Engine
) -> httpx.Response:
    path = _fill(case.path, scene)
    if case.form is None:
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"}
        return await client.request(case.method, path, json=_fill(case.json, scene), headers=headers)
    headers = {**BROWSER, **session_cookie(engine, token)}
    form = _fill(dict(case.form), scene)
    if not case.confirms:
        return await client.post(path, data=form, headers=headers)
    # The seal of what was shown is a part of the confirmation.
    original = await client.get(path, headers=headers) if path.endswith("/edit") else None
    shown = await client.post(path, data={**_hidden(original), **form}, headers=headers)
    return await client.post(path, data={**_hidden(shown), **form, "confirmed": "true"}, headers=headers)


def _hidden(page: httpx.Response | None) -> dict[str, str]:
    fields = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page.text if page else "")
    return {name: unescape(value) for name, value in fields}


def test_every_writing_route_is_a_case_or_a_report() -> None:
    known = {plain(case.route) for case in CASES} | {plain(route) for route in REPORTS}
    there = {plain(route) for route in writing_routes(create_app(load_settings(relay_enabled=False)))}
    assert there - known == set(), "add a case to tests/audit/cases.py, or say in REPORTS why it leaves no entry"
    assert known - there == set()


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_a_change_leaves_one_entry_that_names_who_made_it(
    client: httpx.AsyncClient, engine: Engine, scene: dict[str, Any], token: str, case: Case
) -> None:
    for step in case.before:
        headers = {"Authorization": f"Bearer {token}"}
        path = _fill(step.path, scene)
        made = await client.request(step.method, path, json=_fill(step.json, scene), headers=headers)
        assert made.is_success, made.text
    last = max((entry["id"] for entry in entries(engine)), default=0)
    with engine.connect() as connection:
        scene["unflagged_at"] = str(connection.scalar(select(UnflaggedAnomaly.unflagged_at)))
    answer = await _send(client, case, scene, token, engine)
    assert answer.status_code < 400, answer.text
    (entry,) = entries(engine, last)
    assert (entry["action"], entry["object_kind"]) == (case.action, case.kind)
    assert entry["actor"] == TOKEN
    assert entry["source"].split()[0] == "127.0.0.1"
    assert entry["request_id"] == answer.headers["x-request-id"]
    kind = "file" if case.path == "/alerting/apply" else "token" if case.form is None else "session"
    assert entry["actor_kind"] == kind


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_a_change_that_is_refused_leaves_none(
    client: httpx.AsyncClient, engine: Engine, scene: dict[str, Any], case: Case
) -> None:
    with engine.begin() as connection:
        reading = create_token(connection, "reader", "read")
    answer = await _send(client, case, scene, reading, engine)
    # By MCP a refusal is an answer.
    assert answer.status_code == 403 or case.path == "/mcp"
    assert entries(engine) == []
