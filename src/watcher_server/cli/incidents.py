"""``watcher incidents``: what is wrong, and what people do about it."""

import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from watcher_server.cli.databases import command_transaction
from watcher_server.cli.errors import CommandError
from watcher_server.cli.incidents_view import render_incident, render_list
from watcher_server.cli.terminal import console
from watcher_server.incidents.changes import change_incidents, comment_on
from watcher_server.incidents.detail import read_incident
from watcher_server.incidents.opening import lock_incidents
from watcher_server.incidents.reading import list_incidents, read_incidents
from watcher_server.incidents.schemas import (
    MOST_CHANGED,
    CommentPost,
    IncidentChanges,
    IncidentDetailResponse,
    IncidentQuery,
    IncidentResponse,
    IncidentVersion,
    show_whole,
)
from watcher_server.kit.fields import BIGINT_MAX
from watcher_server.kit.listing import Page
from watcher_server.kit.terminal import typeable
from watcher_server.kit.text import escape_controls

Model = TypeVar("Model", bound=BaseModel)

_ACTOR = "cli"
_SPAN = re.compile(r"(\d{1,6})([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_OPTIONS = {
    "pipeline_id": "--pipeline",
    "root_id": "--root",
    "q": "--search",
    "acknowledged_until": "--until",
    "snoozed_until": "--until",
    "assignee": "WHO",
    "text": "TEXT",
}


def show_all(wanted: Mapping[str, Any], limit: int, *, as_json: bool) -> None:
    """Print a table of incidents, the open and worst first, or a list as JSON.

    Raises:
        CommandError: no incident could be like that.
    """
    query = _valid(IncidentQuery, wanted)
    with command_transaction() as connection:
        found = list_incidents(connection, query.wanted(), Page(limit=limit + 1))
    shown = found[:limit]
    if as_json:
        _print_json(TypeAdapter(list[IncidentResponse]), [IncidentResponse.model_validate(each) for each in shown])
        return
    if not shown:
        _say(
            "Nothing is wrong: no incident is open. `watcher incidents list --state resolved` shows what was."
            if wanted == {"state": "live"}
            else "No incident is like that: `watcher incidents list --state all` shows every one."
        )
        return
    out = console()
    out.print(render_list(shown, out.width))
    if len(found) > limit:
        _say("There are more: raise --limit, or narrow the list with --state, --kind, --owner, --tag or --search.")


def show_one(incident_id: int, *, as_json: bool) -> None:
    """Print everything about an incident.

    Raises:
        CommandError: there is no such incident.
    """
    with command_transaction() as connection:
        detail = read_incident(connection, _bounded(incident_id))
    if as_json:
        _print_json(TypeAdapter(IncidentDetailResponse), IncidentDetailResponse.model_validate(show_whole(detail)))
    else:
        console().print(render_incident(detail))


def acknowledge(incident_ids: Sequence[int], span: str | None, until: str | None) -> None:
    """Acknowledge incidents, for good or for a while; raises as :func:`change` does."""
    moment = _moment(span, until)
    how = "is acknowledged" if moment is None else "is acknowledged for a while"
    change(incident_ids, how, state="acknowledged", acknowledged_until=moment)


def snooze(incident_id: int, span: str | None, until: str | None, *, next_run: bool, worse: bool) -> None:
    """Snooze an incident; raises as :func:`change` does."""
    moment = _moment(span, until)
    chosen = [name for name, is_chosen in (("time", moment), ("next_run", next_run), ("worse", worse)) if is_chosen]
    if len(chosen) != 1:
        raise CommandError("Say until when, in one way: --for 4h, --until MOMENT, --next-run or --worse.")
    changes = {"snooze": chosen[0]} | ({} if moment is None else {"snoozed_until": moment})
    change([incident_id], "is snoozed", **changes)


def change(incident_ids: Sequence[int], done: str, **fields: Any) -> None:
    """Make these changes to incidents, whatever their version is, and say of each that it is done.

    Raises:
        CommandError: one of them was refused, while the others are done.
    """
    if len(incident_ids) > MOST_CHANGED:
        raise CommandError(f"Name at most {MOST_CHANGED} incidents at once.")
    changes = _valid(IncidentChanges, fields)
    ids = list(dict.fromkeys(_bounded(id_) for id_ in incident_ids))
    with command_transaction() as connection:
        # From here on nobody else changes them.
        lock_incidents(connection)
        versions = {incident.id: incident.version for incident in read_incidents(connection, ids)}
        seen = [IncidentVersion(id=id_, version=versions.get(id_, 1)) for id_ in ids]
        outcomes = change_incidents(connection, seen, changes, _ACTOR)
    for outcome in outcomes:
        if outcome.incident is not None:
            _say(f"Incident {outcome.id} ({outcome.incident.name}, {outcome.incident.kind}) {done}.")
    refused = [str(outcome.error) for outcome in outcomes if outcome.error is not None]
    if refused:
        raise CommandError(" ".join(sentence if sentence.endswith(".") else f"{sentence}." for sentence in refused))


def comment(incident_id: int, text: str) -> None:
    """Add a comment to the timeline.

    Raises:
        CommandError: it is empty or too long, or there is no such incident.
    """
    said = _valid(CommentPost, {"text": text}).text
    with command_transaction() as connection:
        comment_on(connection, _bounded(incident_id), said, _ACTOR)
    _say(f"It stands in the timeline: `watcher incidents show {incident_id}`.")


def _moment(span: str | None, until: str | None) -> datetime | str | None:
    if span is None:
        return until
    if until is not None:
        raise CommandError("Say how long either with --for or with --until.")
    found = _SPAN.fullmatch(span.strip().lower())
    if found is None:
        raise CommandError(f"--for cannot be {span}: write 45m, 4h or 2d.")
    return datetime.now(UTC) + timedelta(**{_UNITS[found[2]]: int(found[1])})


def _bounded(incident_id: int) -> int:
    """The id, or one that no incident has, where it is too large for one."""
    return incident_id if abs(incident_id) <= BIGINT_MAX else 0


def _valid(model: type[Model], fields: Mapping[str, Any]) -> Model:
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        what = _OPTIONS.get(name, f"--{name}")
        raise CommandError(f"{what} cannot be that: {first['msg'].removeprefix('Value error, ')}.") from None


def _print_json(adapter: TypeAdapter[Any], value: Any) -> None:
    sys.stdout.write(adapter.dump_json(value, indent=2).decode() + "\n")


def _say(sentence: str) -> None:
    sys.stdout.write(f"{escape_controls(typeable(sentence))}\n")
