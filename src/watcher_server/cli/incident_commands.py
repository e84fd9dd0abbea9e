"""The options of ``watcher incidents``; what the commands do is imported when they run."""

from typing import Annotated, Literal

import typer

incidents_app = typer.Typer(
    help="See what is wrong, take it, snooze it, and say when it is over.", no_args_is_help=True
)

# As incidents.kinds and incidents.reading have them; importing those would slow down every `watcher --help`.
Kind = Literal[
    "failing",
    "lost",
    "silent",
    "missed",
    "late",
    "overlapping",
    "stale",
    "anomalous",
    "task",
    "queue",
    "channel",
    "watcher",
]
State = Literal["live", "open", "acknowledged", "resolved", "all"]

One = Annotated[int, typer.Argument(metavar="ID", help="The number of the incident, as the list shows it.")]
Several = Annotated[list[int], typer.Argument(metavar="ID...", help="One or several, as the list shows them.")]
For = Annotated[
    str | None, typer.Option("--for", metavar="SPAN", help="How long from now: 45m, 4h or 2d; a year at most.")
]
Until = Annotated[
    str | None, typer.Option(metavar="MOMENT", help="Until when, such as 2026-11-23T09:00+01:00; UTC without a zone.")
]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON, as the API answers it.")]


@incidents_app.command("list")
def list_incidents(
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
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most this number.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List what is wrong: the open ones first, the worst before the others.

    What nobody has taken yet: watcher incidents list --state open
    """
    from watcher_server.cli import incidents

    wanted = {
        "state": None if state == "all" else state,
        "kind": kind,
        "owner": owner,
        "tag": tag,
        "pipeline_id": pipeline,
        "root_id": root,
        "since": since,
        "q": search,
    }
    incidents.show_all({name: value for name, value in wanted.items() if value is not None}, limit, as_json=as_json)


@incidents_app.command("show")
def show_incident(incident_id: One, *, as_json: AsJson = False) -> None:
    """Show everything about an incident: since when, why, what happened to it, and who was told."""
    from watcher_server.cli import incidents

    incidents.show_one(incident_id, as_json=as_json)


@incidents_app.command("ack")
def acknowledge(incident_ids: Several, *, span: For = None, until: Until = None) -> None:
    """Say that somebody looks after it: it is not repeated, until it gets worse or that time is over.

    For the rest of the night: watcher incidents ack 12 --for 8h
    """
    from watcher_server.cli import incidents

    incidents.acknowledge(incident_ids, span, until)


@incidents_app.command("unack")
def take_back(incident_ids: Several) -> None:
    """Take an acknowledgement back."""
    from watcher_server.cli import incidents

    incidents.change(incident_ids, "is open again", state="open")


@incidents_app.command("assign")
def assign(
    incident_id: One,
    who: Annotated[str | None, typer.Argument(metavar="[WHO]", help="A person or a team; nobody without it.")] = None,
) -> None:
    """Say who has it."""
    from watcher_server.cli import incidents

    incidents.change([incident_id], f"is assigned to {who or 'nobody'}", assignee=who)


@incidents_app.command("snooze")
def snooze(
    incident_id: One,
    *,
    span: For = None,
    until: Until = None,
    next_run: Annotated[bool, typer.Option("--next-run", help="Until the next run of the pipeline begins.")] = False,
    worse: Annotated[bool, typer.Option("--worse", help="Until it gets worse.")] = False,
) -> None:
    """Hear nothing of it for a while; of four options give one."""
    from watcher_server.cli import incidents

    incidents.snooze(incident_id, span, until, next_run=next_run, worse=worse)


@incidents_app.command("unsnooze")
def unsnooze(incident_id: One) -> None:
    """End a snooze."""
    from watcher_server.cli import incidents

    incidents.change([incident_id], "is snoozed no more", snooze=None)


@incidents_app.command("resolve")
def resolve(
    incident_ids: Several,
    *,
    force: Annotated[
        bool,
        typer.Option("--force", help="Also what still holds; it is quiet then until it was over once, or gets worse."),
    ] = False,
) -> None:
    """Say that it is over. Watcher says so by itself, when it is."""
    from watcher_server.cli import incidents

    incidents.change(incident_ids, "is resolved", state="resolved", force=force)


@incidents_app.command("comment")
def comment(
    incident_id: One, text: Annotated[str, typer.Argument(metavar="TEXT", help="What to add to its timeline.")]
) -> None:
    """Leave a word for those who look at it next."""
    from watcher_server.cli import incidents

    incidents.comment(incident_id, text)
