"""``watcher incidents``: what is wrong, and what people do about it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import typer

from watcher_server.alerts.kinds import Kind
from watcher_server.cli.databases import command_transaction
from watcher_server.cli.errors import CommandError
from watcher_server.cli.given import bounded, read_options, read_span
from watcher_server.cli.groups import new_group
from watcher_server.cli.incidents_view import render_incident, render_list
from watcher_server.cli.options import AsJson, Limit
from watcher_server.cli.terminal import console, print_json, say
from watcher_server.incidents import schemas
from watcher_server.incidents.changes import change_incidents, comment_on
from watcher_server.incidents.detail import read_incident
from watcher_server.incidents.opening import lock_incidents
from watcher_server.incidents.reading import list_incidents, read_incidents
from watcher_server.kit.listing import Page

app = new_group()

_ACTOR = "cli"
_OPTIONS = {
    "pipeline_id": "--pipeline",
    "root_id": "--root",
    "q": "--search",
    "acknowledged_until": "--until",
    "snoozed_until": "--until",
    "assignee": "WHO",
    "text": "TEXT",
}

State = Literal["live", "open", "acknowledged", "resolved", "all"]

One = Annotated[int, typer.Argument(metavar="ID", help="The number of the incident, as the list shows it.")]
Several = Annotated[list[int], typer.Argument(metavar="ID...", help="One or several, as the list shows them.")]
For = Annotated[
    str | None, typer.Option("--for", metavar="SPAN", help="How long from now: 45m, 4h or 2d; a year at most.")
]
Until = Annotated[
    str | None, typer.Option(metavar="MOMENT", help="Until when, such as 2026-11-23T09:00+01:00; UTC without a zone.")
]


@app.command("list")
def show_all(
    *,
    state: Annotated[State, typer.Option(help="Only those in this state; live is all that are not resolved.")] = "live",
    kind: Annotated[Kind | None, typer.Option(help="Only those of this kind.")] = None,
    owner: Annotated[str | None, typer.Option(help="Only those of this owner's pipelines.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only those of pipelines with this tag.")] = None,
    pipeline: Annotated[int | None, typer.Option(help="Only those of the pipeline with this id.")] = None,
    root: Annotated[int | None, typer.Option(help="Only those that the incident with this number explains.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="MOMENT", help="Only those that were opened or resolved from then on.")
    ] = None,
    search: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only those with this in a name, a detail or an assignee.")
    ] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List what is wrong: the open ones first, the worst before the others.

    What nobody has taken yet: watcher incidents list --state open
    """
    given = {
        "state": None if state == "all" else state,
        "kind": kind,
        "owner": owner,
        "tag": tag,
        "pipeline_id": pipeline,
        "root_id": root,
        "since": since,
        "q": search,
    }
    wanted = {name: value for name, value in given.items() if value is not None}
    query = read_options(schemas.IncidentQuery, wanted, _OPTIONS)
    with command_transaction() as connection:
        found = list_incidents(connection, query.wanted(), Page(limit=limit + 1))
    shown = found[:limit]
    if as_json:
        print_json(list[schemas.IncidentResponse], shown)
        return
    if not shown:
        say(
            "Nothing is wrong: no incident is open. `watcher incidents list --state resolved` shows what was."
            if wanted == {"state": "live"}
            else "No incident is like that: `watcher incidents list --state all` shows every one."
        )
        return
    out = console()
    out.print(render_list(shown, out.width))
    if len(found) > limit:
        say("There are more: raise --limit, or narrow the list with --state, --kind, --owner, --tag or --search.")


@app.command("show")
def show_incident(incident_id: One, *, as_json: AsJson = False) -> None:
    """Show everything about an incident: since when, why, what happened to it, and who was told."""
    with command_transaction() as connection:
        detail = read_incident(connection, bounded(incident_id))
    if as_json:
        print_json(schemas.IncidentDetailResponse, detail.as_answer())
    else:
        console().print(render_incident(detail))


@app.command("ack")
def acknowledge(incident_ids: Several, *, span: For = None, until: Until = None) -> None:
    """Say that somebody looks after it: it is not repeated, until it gets worse or that time is over.

    For the rest of the night: watcher incidents ack 12 --for 8h
    """
    moment = _moment(span, until)
    how = "is acknowledged" if moment is None else "is acknowledged for a while"
    _change(incident_ids, how, state="acknowledged", acknowledged_until=moment)


@app.command("unack")
def take_back(incident_ids: Several) -> None:
    """Take an acknowledgement back."""
    _change(incident_ids, "is open again", state="open")


@app.command("assign")
def assign(
    incident_id: One,
    who: Annotated[str | None, typer.Argument(metavar="[WHO]", help="A person or a team; nobody without it.")] = None,
) -> None:
    """Say who has it."""
    _change([incident_id], f"is assigned to {who or 'nobody'}", assignee=who)


@app.command("snooze")
def snooze(
    incident_id: One,
    *,
    span: For = None,
    until: Until = None,
    next_run: Annotated[bool, typer.Option("--next-run", help="Until the next run of the pipeline begins.")] = False,
    worse: Annotated[bool, typer.Option("--worse", help="Until it gets worse.")] = False,
) -> None:
    """Hear nothing of it for a while; of four options give one."""
    moment = _moment(span, until)
    chosen = [name for name, is_chosen in (("time", moment), ("next_run", next_run), ("worse", worse)) if is_chosen]
    if len(chosen) != 1:
        raise CommandError("Say until when, in one way: --for 4h, --until MOMENT, --next-run or --worse.")
    changes = {"snooze": chosen[0]} | ({} if moment is None else {"snoozed_until": moment})
    _change([incident_id], "is snoozed", **changes)


@app.command("unsnooze")
def unsnooze(incident_id: One) -> None:
    """End a snooze."""
    _change([incident_id], "is snoozed no more", snooze=None)


@app.command("resolve")
def resolve(
    incident_ids: Several,
    *,
    force: Annotated[
        bool,
        typer.Option("--force", help="Also what still holds; it is quiet then until it was over once, or gets worse."),
    ] = False,
) -> None:
    """Say that it is over. Watcher says so by itself, when it is."""
    _change(incident_ids, "is resolved", state="resolved", force=force)


@app.command("comment")
def comment(
    incident_id: One, text: Annotated[str, typer.Argument(metavar="TEXT", help="What to add to its timeline.")]
) -> None:
    """Leave a word for those who look at it next."""
    said = read_options(schemas.CommentPost, {"text": text}, _OPTIONS).text
    with command_transaction() as connection:
        comment_on(connection, bounded(incident_id), said, _ACTOR)
    say(f"It stands in the timeline: `watcher incidents show {incident_id}`.")


def _change(incident_ids: Sequence[int], done: str, **fields: Any) -> None:
    """Make these changes to incidents, whatever their version is, and say of each what came of it."""
    if len(incident_ids) > schemas.MOST_CHANGED:
        raise CommandError(f"Name at most {schemas.MOST_CHANGED} incidents at once.")
    changes = read_options(schemas.IncidentChanges, fields, _OPTIONS)
    ids = list(dict.fromkeys(bounded(id_) for id_ in incident_ids))
    with command_transaction() as connection:
        # From here on nobody else changes them.
        lock_incidents(connection)
        versions = {incident.id: incident.version for incident in read_incidents(connection, ids)}
        seen = [schemas.IncidentVersion(id=id_, version=versions.get(id_, 1)) for id_ in ids]
        outcomes = change_incidents(connection, seen, changes, _ACTOR)
    for outcome in outcomes:
        if outcome.incident is not None:
            say(f"Incident {outcome.id} ({outcome.incident.name}, {outcome.incident.kind}) {done}.")
    refused = [str(outcome.error) for outcome in outcomes if outcome.error is not None]
    if refused:
        raise CommandError(" ".join(sentence if sentence.endswith(".") else f"{sentence}." for sentence in refused))


def _moment(span: str | None, until: str | None) -> datetime | str | None:
    if span is None:
        return until
    if until is not None:
        raise CommandError("Say how long either with --for or with --until.")
    length = read_span(span)
    if length is None:
        raise CommandError(f"--for cannot be {span}: write 45m, 4h or 2d.")
    return datetime.now(UTC) + length
