"""``watcher openlineage``: events that failed, replays, imports, and what jobs and datasets are called here."""

import gzip
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from watcher_server.archive import service as archive
from watcher_server.cli.databases import command_engine, command_transaction
from watcher_server.cli.errors import CommandError
from watcher_server.cli.given import bounded, read_moment
from watcher_server.cli.groups import new_group
from watcher_server.cli.options import AsJson, Limit
from watcher_server.cli.terminal import complain, console, plain_table, print_json, say, second
from watcher_server.kit.text import escape_controls, plural
from watcher_server.openlineage.counting import StatusResponse, Waiting, read_status, stuck_text
from watcher_server.openlineage.envelope import JobName
from watcher_server.openlineage.importing import Imported, import_lines
from watcher_server.openlineage.inspecting import EventResponse, EventsResponse, State, find_events, read_one
from watcher_server.openlineage.linking import alias_dataset, forget_job, link_job, unlink_job
from watcher_server.openlineage.replaying import replay_failed, replay_since, replay_these
from watcher_server.settings import get_settings

app = new_group()

Namespace = Annotated[
    str, typer.Argument(metavar="NAMESPACE", help="The namespace of the job, as its events spell it.")
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The name of the job, as its events spell it.")]

_STANDARD_INPUT = Path("-")
_GZIP = b"\x1f\x8b"


@app.command("status")
def show_status(*, as_json: AsJson = False) -> None:
    """Show how many events came, what became of them, and who sent last. Status 1 when some failed or wait for long."""
    with command_transaction() as connection:
        status = read_status(connection)
    now = Waiting(status.waiting, status.oldest_waiting_seconds, status.failed)
    if as_json:
        print_json(StatusResponse, status)
    else:
        _print_status(status, stuck_text(now))
    if stuck_text(now) is not None:
        raise typer.Exit(1)


def _print_status(status: StatusResponse, stuck: str | None) -> None:
    if not status.received:
        say("No event has come yet: docs/openlineage.md says what a tool needs to send some.")
        return
    say(
        f"{status.received:,} events: {status.applied:,} applied, {status.repeated:,} said nothing new, "
        f"{status.ignored:,} ignored, {status.waiting:,} waiting, {status.failed:,} failed."
    )
    if stuck:
        say(f"{stuck[:1].upper()}{stuck[1:]}: `watcher openlineage failed` says why, `watcher status` what runs.")
    table = plain_table("Namespace", "Integration", "Version", "Events", "Last (UTC)")
    table.columns[3].justify = "right"
    for sender in status.producers:
        table.add_row(
            Text(escape_controls(sender.namespace)),
            Text(escape_controls(sender.integration)),
            Text(escape_controls(sender.version or "")),
            f"{sender.events:,}",
            second(sender.last),
        )
    console().print(table)


@app.command("failed")
def show_failed(
    *,
    job: Annotated[str | None, typer.Option(help="Only those of this job: its name, or NAMESPACE/NAME.")] = None,
    run: Annotated[str | None, typer.Option(help="Only those of the run with this id.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List the events that could not be applied, the newest first, and why."""
    with command_transaction() as connection:
        found = find_events(connection, State.FAILED, job=job, run=run, limit=limit)
    if as_json:
        print_json(EventsResponse, found)
    elif found.events:
        _print_failed(found)
    elif job or run:
        say("No event that failed is like that: `watcher openlineage failed` without options shows the newest of all.")
    else:
        say("No event has failed.")


def _print_failed(found: EventsResponse) -> None:
    table = plain_table("ID", "Failed (UTC)", "Namespace", "Job", "Error")
    for event in found.events:
        table.add_row(
            str(event.id),
            second(event.failed_at or event.received_at),
            Text(escape_controls(event.namespace)),
            Text(escape_controls(event.job or "")),
            Text(escape_controls((event.error or "").partition("\n")[0])),
        )
    console().print(table)
    if not found.complete:
        say("There are more: raise --limit, or narrow the list with --job or --run.")
    say("See one: `watcher openlineage show ID`. Once the cause is mended: `watcher openlineage replay --failed`.")


@app.command("show")
def show_one(event_id: Annotated[int, typer.Argument(metavar="ID", help="As the list shows it.")]) -> None:
    """Show an event as JSON, with its secrets masked, and what became of it."""
    with command_transaction() as connection:
        event = read_one(connection, bounded(event_id))
    print_json(EventResponse, event)


@app.command("replay")
def replay(
    event_ids: Annotated[list[int] | None, typer.Argument(metavar="[ID...]", help="These events.")] = None,
    *,
    failed: Annotated[bool, typer.Option("--failed", help="All that failed.")] = False,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="MOMENT", help="All that arrived from then on, such as 2026-11-23T09:00; UTC without a zone."
        ),
    ] = None,
) -> None:
    """Apply events again, which changes nothing where they were applied before, and sends no alerts about what is old.

    After what made them fail was mended: watcher openlineage replay --failed
    """
    if sum(map(bool, (event_ids, since, failed))) != 1:
        raise CommandError("Say which events to apply again, in one way: their ids, --failed, or --since MOMENT.")
    moment = None if since is None else read_moment("--since", since)
    with command_engine() as engine:
        if moment is not None:
            done = replay_since(engine.begin, moment)
        elif failed:
            done = replay_failed(engine.begin)
        else:
            done = replay_these(engine.begin, [id_ for id_ in event_ids or [] if bounded(id_)])
            done.unknown += [id_ for id_ in event_ids or [] if not bounded(id_)]
    if done.events:
        say(f"{plural(done.events, 'event')} will be applied again by the workers.")
    else:
        say("No event is applied again: none is like that, or it waits already.")
    if done.unknown:
        raise CommandError(f"No event that is kept has the id {', '.join(map(str, done.unknown[:20]))}.")


@app.command("import")
def import_files(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Files with one event a line, also gzipped; - is standard input."),
    ],
) -> None:
    """Take in events that a client wrote into files (its file transport). Doing so twice changes nothing.

    Lines that are no events are named, and the others are taken; the status is 1 then.
    """
    most_bytes = get_settings().openlineage_max_event_bytes
    bad = 0
    with command_engine() as engine:
        for file in files:
            name = "standard input" if file == _STANDARD_INPUT else str(file)
            with _progress(name) as report, _lines(file) as lines:
                done = import_lines(engine.begin, lines, most_bytes, report=report)
            say(f"{name}: {done.events:,} events stored" + (f", {done.bad:,} lines are none." if done.bad else "."))
            for line in done.named:
                complain(f"{name}, line {line.number:,}: {line.reason}.")
            if done.bad > len(done.named):
                complain(f"{name}: and {done.bad - len(done.named):,} more lines that are no events.")
            bad += done.bad
    say("The workers apply them now: `watcher openlineage status` says how far they are.")
    if bad:
        raise typer.Exit(1)


@contextmanager
def _lines(file: Path) -> Iterator[Iterable[bytes]]:
    if file == _STANDARD_INPUT:
        yield sys.stdin.buffer
        return
    try:
        with file.open("rb") as stream:
            packed = stream.read(len(_GZIP)) == _GZIP
            stream.seek(0)
            yield gzip.GzipFile(fileobj=stream) if packed else stream
    except (OSError, EOFError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise CommandError(f"{file} cannot be read: {reason}.") from None


@contextmanager
def _progress(name: str) -> Iterator[Any]:
    """Show how many events are stored, on a terminal."""
    with console().status(f"{name} ...") as shown:

        def report(done: Imported) -> None:
            bad = f", {done.bad:,} lines are none" if done.bad else ""
            shown.update(escape_controls(f"{name}: {done.events:,} events{bad}"))

        yield report


@app.command("link")
def link(
    namespace: Namespace,
    name: Name,
    pipeline: Annotated[str, typer.Argument(metavar="PIPELINE", help="The pipeline, by its name or its id.")],
) -> None:
    """Have the runs of a job be those of another pipeline from now on, such as one that was made by hand."""
    with command_transaction() as connection:
        found = link_job(connection, _job(namespace, name), pipeline)
    say(f"From its next event on, {namespace}/{name} reports runs of the pipeline {found.name} (ID {found.id}).")


@app.command("unlink")
def unlink(namespace: Namespace, name: Name) -> None:
    """Undo a link: the next event of the job finds its pipeline by its name, NAMESPACE/NAME."""
    with command_transaction() as connection:
        pipeline = unlink_job(connection, _job(namespace, name))
    was = f" It was {pipeline}, which keeps its runs." if pipeline else ""
    say(f"The next event of {namespace}/{name} finds its pipeline by its name.{was}")


@app.command("alias")
def alias(
    dataset: Annotated[
        str, typer.Argument(metavar="DATASET", help="NAMESPACE/NAME, such as postgres://wh:5432/shop.public.orders.")
    ],
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="The address, by its name or its id.")],
) -> None:
    """Have a dataset be an address that was made otherwise, with all edges that were read from events.

    watcher openlineage alias "postgres://wh:5432/shop.public.orders" shop.public.orders
    """
    with command_transaction() as connection:
        found = alias_dataset(connection, dataset, address)
    say(f"{dataset} is the address {found.name} (ID {found.id}) from now on.")


@app.command("forget")
def forget(namespace: Namespace, name: Name) -> None:
    """Forget a job, and its pipeline with all its runs if the job made it. Its next event makes both anew."""
    with command_transaction() as connection:
        pipeline = forget_job(connection, _job(namespace, name))
        if pipeline is not None:
            archive.forget(connection, archive.Kind.PIPELINE, pipeline.id)
    rest = "" if pipeline is None else f", and so is its pipeline {pipeline.name} with its runs"
    say(f"{namespace}/{name} is forgotten{rest}.")


def _job(namespace: str, name: str) -> JobName:
    return JobName(namespace.strip(), name.strip())
