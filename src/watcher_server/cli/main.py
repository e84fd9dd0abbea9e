"""The entry point of ``watcher``: every command imports what it needs when it runs."""

# Late imports keep `watcher --help` fast: it loads neither database, nor broker, nor server.

import sys
from pathlib import Path
from typing import Annotated

import typer

from watcher_server import __version__
from watcher_server.cli.errors import expected_errors
from watcher_server.cli.groups import later
from watcher_server.cli.options import Url, token_option
from watcher_server.kit.terminal import typeable
from watcher_server.kit.text import escape_controls
from watcher_server.tasking.wire import QUEUES

_HELP = """Watcher knows what each data pipeline did, what it read and wrote, whether it was on time,
and whether its numbers look wrong.

**On one machine**: `watcher up` runs everything, with a PostgreSQL and a Valkey of its own.
`watcher demo` then fills it with a year of real data.

**In production**: set `WATCHER_DATABASE_URL` and `WATCHER_BROKER_URL`, run `watcher migrate` once per
version, and `watcher api`, `watcher worker` and one `watcher beat` wherever you like.

Settings come from the environment. The first to know:

- `WATCHER_HOST`, `WATCHER_PORT`: where it listens (127.0.0.1, 8000)
- `WATCHER_HOME`: where the embedded data is (~/.local/share/watcher, as root /var/lib/watcher)
- `WATCHER_DATABASE_URL`, `WATCHER_BROKER_URL`: servers of your own instead of the embedded ones
- `WATCHER_SLACK_WEBHOOK_URL`: where alerts go; without it they are logged
- `WATCHER_LOG_LEVEL`: DEBUG, INFO, WARNING, ERROR or CRITICAL
"""

app = typer.Typer(
    help=_HELP, rich_markup_mode="markdown", no_args_is_help=True, pretty_exceptions_enable=False, add_completion=True
)
GROUPS = {
    "token": ("tokens", "Make, list, rotate and revoke the bearer tokens that callers show."),
    "tasks": ("tasks", "Look at tasks, and run failed ones again."),
    "incidents": ("incidents", "See what is wrong, take it, snooze it, and say when it is over."),
    "channels": ("channels", "See where alerts go, and test that they arrive."),
    "route": ("route_explain", "See who would be told, and why."),
    "rules": ("rules", "Try an anomaly rule on a pipeline's past before it is made."),
    "openlineage": (
        "openlineage",
        "Look after what other tools report by OpenLineage: events that failed, replays, imports, names.",
    ),
}
for group, (module, summary) in GROUPS.items():
    app.add_typer(later(module, help=summary, no_args_is_help=True), name=group)


def _show_limits(context: typer.Context) -> None:
    """Show how fast tasks may start, in the whole cluster; change it for a while with `set`."""
    if context.invoked_subcommand is None:
        from watcher_server.cli import limits

        limits.show_all()


app.add_typer(later("limits", callback=_show_limits, invoke_without_command=True), name="limits")
app.add_typer(later("dbt", help="Tell Watcher what dbt did.", no_args_is_help=True), name="dbt")


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"watcher {__version__}\n")
        raise typer.Exit


@app.callback()
def options(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Declare the options that come before the command."""


@app.command()
def up(
    *,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show messages of level INFO too, not only warnings.")
    ] = False,
) -> None:
    """Run everything here: database, broker, api, worker, beat. Ctrl-C stops it; the data stays.

    Another port: WATCHER_PORT=8080 watcher up
    """
    from watcher_server.cli.up import run_up

    run_up(verbose=verbose)


@app.command()
def api() -> None:
    """Run the HTTP server (WATCHER_HOST, WATCHER_PORT, WATCHER_API_PROCESSES)."""
    from watcher_server.cli.api import run_api

    run_api()


@app.command()
def worker(
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Tasks at once; without it WATCHER_WORKER_PROCESSES.")
    ] = None,
    autoscale: Annotated[
        str | None,
        typer.Option(metavar="MAX,MIN", help="In place of --concurrency: as many tasks at once as wait, within these."),
    ] = None,
    queues: Annotated[str, typer.Option(help="Which queues to serve, separated by commas.")] = ",".join(QUEUES),
) -> None:
    """Run tasks. Start as many as you like, on as many machines.

    For the checks and alerts alone: watcher worker --queues scheduled,alerts --concurrency 1
    """
    from watcher_server.cli.celery_processes import run_worker

    run_worker(concurrency=concurrency, autoscale=autoscale, queues=queues)


@app.command()
def beat() -> None:
    """Send the scheduled checks. Run exactly one."""
    from watcher_server.cli.celery_processes import run_beat

    run_beat()


@app.command()
def migrate() -> None:
    """Bring the database to this version's tables. Safe to repeat, and to run in several places at once."""
    from watcher_server.cli.databases import database_for_a_command, ensure_migrated

    with database_for_a_command() as url:
        ensure_migrated(url)
    sys.stdout.write("The database has this version's tables.\n")


@app.command()
def backup(file: Annotated[Path, typer.Argument(help="The file to write; it must not exist.")]) -> None:
    """Write the whole database into a file, while Watcher runs."""
    from watcher_server.cli.backups import back_up

    back_up(file)


@app.command()
def restore(file: Annotated[Path, typer.Argument(help="A file that `watcher backup` wrote.")]) -> None:
    """Replace the embedded database by a backup, also of an older version. Stop `watcher up` first."""
    from watcher_server.cli.backups import restore as restore_backup

    restore_backup(file)


@app.command()
def status(
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it anew every 2 seconds, until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Show what runs and how far behind it is. Status 1 when anything does not run as it should."""
    from watcher_server.cli import status as status_command

    if watch:
        status_command.watch_status()
    elif not (status_command.print_status_as_json() if as_json else status_command.show_status()):
        raise typer.Exit(1)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)
def demo(context: typer.Context) -> None:
    """Replay a year of real airline operations into a running Watcher."""
    # The demo declares its own options, and is imported only when it is called.
    from watcher_server.demo.command import demo as demo_command
    from watcher_server.embedded.running import settings_beside_up

    settings_beside_up()
    program = typer.Typer(rich_markup_mode="markdown", pretty_exceptions_enable=False, add_completion=False)
    program.command()(demo_command)
    program(context.args, prog_name="watcher demo")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)
def run(context: typer.Context) -> None:
    """Run any command, and report it as a run of a pipeline: watcher run --pipeline NAME -- COMMAND.

    `watcher` itself takes the fast way, in cli/entry.py; this one is for the list of commands.
    """
    from watcher_server.cli.running.command import run_wrapped

    run_wrapped(context.args)


@app.command()
def apply(
    file: Annotated[Path, typer.Option("--file", "-f", help="The file; docs/telling.md has a whole one.")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove what came from this file and is no longer in it.")
    ] = False,
    url: Url = None,
    token: Annotated[str | None, token_option("with the scope admin")] = None,
) -> None:
    """Make channels, routes, calendars, windows and pipelines as a file says: all of it, or nothing.

    What it would change: watcher apply -f watcher.yaml --dry-run
    """
    from watcher_server.cli import config_file

    config_file.apply(file, url, token, dry_run=dry_run, prune=prune)


@app.command("export")
def export_file(
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Where to write it; else standard output.")] = None,
    *,
    pipelines: Annotated[
        bool, typer.Option("--pipelines", help="Every pipeline as it is now, and not only what was applied.")
    ] = False,
    url: Url = None,
    token: Annotated[str | None, token_option("that may read")] = None,
) -> None:
    """Write the file that `watcher apply` takes, as everything is now. Applying it changes nothing."""
    from watcher_server.cli import config_file

    config_file.export(file, url, token, pipelines=pipelines)


@app.command()
def mcp(
    url: Annotated[
        str, typer.Option(envvar="WATCHER_URL", help="The server to ask; here or elsewhere.")
    ] = "http://127.0.0.1:8000",
    token: Annotated[
        str | None, typer.Option(envvar="WATCHER_TOKEN", help="A token of that server; read is enough to look.")
    ] = None,
) -> None:
    """Let an assistant ask a server, by MCP over standard input and output. An editor starts this.

    Editors that speak MCP over HTTP need no command: they ask WATCHER_URL/mcp themselves.
    """
    from watcher_server.cli.mcp import run_mcp

    run_mcp(url, token)


@app.command()
def audit(
    *,
    since: Annotated[
        str | None, typer.Option(help="Not before this: 2026-03-01, 2026-03-01T08:00 (UTC), or 30m, 12h, 7d ago.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Before this, likewise.")] = None,
    actor: Annotated[str | None, typer.Option(help="Only what this token or user did.")] = None,
    action: Annotated[str | None, typer.Option(help="Only this, such as change or revoke.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only what was done to these, such as pipeline or channel.")] = None,
    object_id: Annotated[
        str | None, typer.Option("--id", help="With --kind: only this one, by its id or name.")
    ] = None,
    search: Annotated[str | None, typer.Option("--search", "-s", help="Any part of what an entry says.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most this number; with --json all.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print every entry as JSON, one on each line.")] = False,
) -> None:
    """Show who changed what, the newest first; with --json the oldest first.

    What happened to a channel: watcher audit --kind channel --id ops
    """
    from watcher_server.cli import audit as audit_command

    given = {"actor": actor, "action": action, "object_kind": kind, "object_id": object_id, "q": search}
    audit_command.show({**given, "since": since, "until": until}, limit, as_json=as_json)


def main() -> None:
    """Run the command; an expected failure is one sentence on standard error and status 1."""
    try:
        app(prog_name="watcher")
    except expected_errors() as error:
        sys.stderr.write(f"watcher: {escape_controls(typeable(str(error)))}\n")
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
