"""The options of ``watcher openlineage``; what the commands do is imported when they run."""

from pathlib import Path
from typing import Annotated

import typer

from watcher_server.cli.incident_commands import AsJson

openlineage_app = typer.Typer(
    help="Look after what other tools report by OpenLineage: events that failed, replays, imports, names.",
    no_args_is_help=True,
)

Namespace = Annotated[
    str, typer.Argument(metavar="NAMESPACE", help="The namespace of the job, as its events spell it.")
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The name of the job, as its events spell it.")]


@openlineage_app.command("status")
def show_status(*, as_json: AsJson = False) -> None:
    """Show how many events came, what became of them, and who sent last. Status 1 when some failed or wait for long."""
    from watcher_server.cli import openlineage

    if not openlineage.show_status(as_json=as_json):
        raise typer.Exit(1)


@openlineage_app.command("failed")
def list_failed(
    *,
    job: Annotated[str | None, typer.Option(help="Only those of this job: its name, or NAMESPACE/NAME.")] = None,
    run: Annotated[str | None, typer.Option(help="Only those of the run with this id.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most this number.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List the events that could not be applied, the newest first, and why."""
    from watcher_server.cli import openlineage

    openlineage.show_failed(job, run, limit, as_json=as_json)


@openlineage_app.command("show")
def show_event(event_id: Annotated[int, typer.Argument(metavar="ID", help="As the list shows it.")]) -> None:
    """Show an event as JSON, with its secrets masked, and what became of it."""
    from watcher_server.cli import openlineage

    openlineage.show_one(event_id)


@openlineage_app.command("replay")
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
    from watcher_server.cli import openlineage

    openlineage.replay(event_ids or [], since, failed=failed)


@openlineage_app.command("import")
def import_files(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Files with one event a line, also gzipped; - is standard input."),
    ],
) -> None:
    """Take in events that a client wrote into files (its file transport). Doing so twice changes nothing.

    Lines that are no events are named, and the others are taken; the status is 1 then.
    """
    from watcher_server.cli import openlineage

    if not openlineage.import_files(files):
        raise typer.Exit(1)


@openlineage_app.command("link")
def link(
    namespace: Namespace,
    name: Name,
    pipeline: Annotated[str, typer.Argument(metavar="PIPELINE", help="The pipeline, by its name or its id.")],
) -> None:
    """Have the runs of a job be those of another pipeline from now on, such as one that was made by hand."""
    from watcher_server.cli import openlineage

    openlineage.link(namespace, name, pipeline)


@openlineage_app.command("unlink")
def unlink(namespace: Namespace, name: Name) -> None:
    """Undo a link: the next event of the job finds its pipeline by its name, NAMESPACE/NAME."""
    from watcher_server.cli import openlineage

    openlineage.unlink(namespace, name)


@openlineage_app.command("alias")
def alias(
    dataset: Annotated[
        str, typer.Argument(metavar="DATASET", help="NAMESPACE/NAME, such as postgres://wh:5432/shop.public.orders.")
    ],
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="The address, by its name or its id.")],
) -> None:
    """Have a dataset be an address that was made otherwise, with all edges that were read from events.

    watcher openlineage alias "postgres://wh:5432/shop.public.orders" shop.public.orders
    """
    from watcher_server.cli import openlineage

    openlineage.alias(dataset, address)


@openlineage_app.command("forget")
def forget(namespace: Namespace, name: Name) -> None:
    """Forget a job, and its pipeline with all its runs if the job made it. Its next event makes both anew."""
    from watcher_server.cli import openlineage

    openlineage.forget(namespace, name)
