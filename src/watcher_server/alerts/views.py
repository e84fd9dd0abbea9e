"""What each process knows of the channels.

Settings and secrets come from the environment of each process. A webhook that is set for the api and not for the
workers sends some alerts to Slack and some to the log, and nobody would see why.
"""

import hashlib
import json
import os
import socket
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Row, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from watcher_server.alerts.channels.account import UnknownSecretError
from watcher_server.alerts.config.schemas import DEFAULT
from watcher_server.alerts.sending import ChannelRow
from watcher_server.settings import Settings
from watcher_server.tasking.workers.service import worker_id

_PROBLEM = "problem"

_WRITE = text("""
WITH gone AS (DELETE FROM channel_view WHERE seen_at < now() - interval '1 day')
INSERT INTO channel_view (id, kind, host, pid, known) VALUES (:id, :kind, :host, :pid, :known)
ON CONFLICT (id) DO UPDATE SET known = excluded.known, seen_at = now()
""").bindparams(bindparam("known", type_=JSONB))


def write_view(connection: Connection, view_id: UUID, settings: Settings) -> None:
    """Say what this process knows of each channel, under an id that it keeps."""
    statement = "SELECT name, type, spec, secrets FROM channel WHERE type <> 'default' ORDER BY name"
    channels = [ChannelRow._make(row) for row in connection.execute(text(statement))]
    webhook, heartbeat = settings.slack_webhook_url, settings.heartbeat_url
    known = {
        DEFAULT: "the log" if webhook is None else f"Slack {_digest(webhook.get_secret_value())}",
        # Whichever process has the keeper makes the calls.
        "WATCHER_HEARTBEAT_URL": "" if heartbeat is None else _digest(heartbeat.get_secret_value()),
        **{each.name: _mark(each, settings) for each in channels},
    }
    kind = "api" if worker_id() is None else "worker"
    values = {"id": view_id, "kind": kind, "host": socket.gethostname(), "pid": os.getpid(), "known": known}
    connection.execute(_WRITE, values)


def _mark(channel: ChannelRow, settings: Settings) -> str | dict[str, str]:
    try:
        account = channel.open(settings)
    except UnknownSecretError as error:
        return {_PROBLEM: str(error)}
    if channel.type == "apprise" and not settings.apprise:
        return {_PROBLEM: "Channels of the type apprise are off in this process"}
    return _digest(json.dumps(dict(account.values), sort_keys=True, default=str))


def _digest(secret: str) -> str:
    # The same secrets have the same mark; it is too short to find out by it what they are.
    return hashlib.sha256(secret.encode()).hexdigest()[:4]


class Difference(NamedTuple):
    """A channel that not every process can send to, or not to the same place; ``text`` says which and why."""

    channel: str
    text: str


# Each process writes once a minute.
_VIEWS = """
SELECT kind, host, pid, known FROM channel_view WHERE seen_at > now() - interval '3 minutes' ORDER BY kind, host, pid
"""


def find_differences(connection: Connection) -> Sequence[Difference]:
    """The channels that the processes that are alive do not know alike."""
    views = connection.execute(text(_VIEWS)).all()
    names = dict.fromkeys(name for view in views for name in view.known)
    found = ((name, _compare(name, views)) for name in names)
    return [Difference(name, said) for name, said in found if said is not None]


def _compare(name: str, views: Iterable[Row[Any]]) -> str | None:
    """What differs about a channel, in words; None when all know it alike."""
    # A process that was not told of a channel yet looks again within a minute.
    marks = {f"{view.kind} on {view.host} ({view.pid})": view.known[name] for view in views if name in view.known}
    problems = {process: mark[_PROBLEM] for process, mark in marks.items() if isinstance(mark, dict)}
    if problems:
        return "; ".join(f"{problem}: {', '.join(who)}" for problem, who in _grouped(problems).items())
    groups = _grouped({process: str(mark) for process, mark in marks.items()})
    if len(groups) < 2:  # noqa: PLR2004 - one way to know it is no difference
        return None
    if name == DEFAULT:
        return "; ".join(f"{', '.join(who)}: to {mark}" for mark, who in groups.items())
    return f"not the same secrets in {' and in '.join(', '.join(who) for who in groups.values())}"


def _grouped(marks: Mapping[str, str]) -> Mapping[str, Sequence[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for process, mark in marks.items():
        found[mark].append(process)
    return found
