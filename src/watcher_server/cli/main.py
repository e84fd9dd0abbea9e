"""The entry point of ``watcher``: every command imports what it needs when it runs."""

# Late imports keep `watcher --help` fast: it loads neither database, nor broker, nor server.

import sys
from pathlib import Path
from typing import Annotated

import typer

from watcher_server import __version__
from watcher_server.auth.scopes import Scope
from watcher_server.cli.channel_commands import channels_app
from watcher_server.cli.errors import expected_errors
from watcher_server.cli.incident_commands import incidents_app
from watcher_server.cli.openlineage_commands import openlineage_app
from watcher_server.cli.route_commands import route_app
from watcher_server.cli.rule_commands import rules_app
from watcher_server.kit.terminal import typeable
from watcher_server.kit.text import escape_controls
from watcher_server.tasking.history.states import TaskState
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
    help=_HELP,
    rich_markup_mode="markdown",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)
token_app = typer.Typer(help="Make, list, rotate and revoke the bearer tokens that callers show.", no_args_is_help=True)
app.add_typer(token_app, name="token")
tasks_app = typer.Typer(help="Look at tasks, and run failed ones again.", no_args_is_help=True)
app.add_typer(tasks_app, name="tasks")
app.add_typer(incidents_app, name="incidents")
app.add_typer(channels_app, name="channels")
app.add_typer(route_app, name="route")
app.add_typer(rules_app, name="rules")
app.add_typer(openlineage_app, name="openlineage")
limits_app = typer.Typer()
app.add_typer(limits_app, name="limits")
dbt_app = typer.Typer(help="Tell Watcher what dbt did.", no_args_is_help=True)
app.add_typer(dbt_app, name="dbt")


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


@dbt_app.command()
def upload(
    target: Annotated[Path, typer.Argument(help="The folder in which dbt left its files.")] = Path("target"),
    *,
    url: Annotated[
        str | None,
        typer.Option(envvar="WATCHER_URL", help="Watcher's address; by default that of the one that runs here."),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(envvar="WATCHER_TOKEN", help="A token that may write, where Watcher asks for one."),
    ] = None,
    namespace: Annotated[
        str, typer.Option(envvar="OPENLINEAGE_NAMESPACE", help="What the names of pipelines begin with.")
    ] = "dbt",
    dataset_namespace: Annotated[
        str | None,
        typer.Option(help="What the names of addresses begin with, such as postgres://warehouse:5432; else nothing."),
    ] = None,
    job_name: Annotated[
        str | None,
        typer.Option(envvar="OPENLINEAGE_DBT_JOB_NAME", help="The name of the whole run; else dbt-run-PROJECT."),
    ] = None,
) -> None:
    """Send manifest.json, run_results.json and sources.json. Sending them again changes nothing.

    After each run, whether it failed or not: dbt build; watcher dbt upload
    """
    from watcher_server.cli.dbt import upload as upload_files

    fields = {"namespace": namespace, "dataset_namespace": dataset_namespace, "job_name": job_name}
    upload_files(target, url, token, {name: value for name, value in fields.items() if value is not None})


Url = Annotated[
    str | None,
    typer.Option("--url", envvar="WATCHER_URL", help="Watcher's address; by default that of the one that runs here."),
]


@app.command()
def apply(
    file: Annotated[Path, typer.Option("--file", "-f", help="The file; docs/telling.md has a whole one.")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove what came from this file and is no longer in it.")
    ] = False,
    url: Url = None,
    token: Annotated[
        str | None,
        typer.Option(envvar="WATCHER_TOKEN", help="A token with the scope admin, where Watcher asks for one."),
    ] = None,
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
    token: Annotated[
        str | None, typer.Option(envvar="WATCHER_TOKEN", help="A token that may read, where Watcher asks for one.")
    ] = None,
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


Expires = Annotated[str, typer.Option(help="When it expires, from now: 90d, 12h, 30m, or never.")]


@token_app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose it is, to recognise it in the list.")],
    scope: Annotated[
        Scope,
        typer.Option(help="ingest: only report runs. read: look. write: also report and change. admin: everything."),
    ] = Scope.WRITE,
    expires: Expires = "365d",
    purpose: Annotated[str | None, typer.Option(help="Whose it is, or what for.")] = None,
) -> None:
    """Make a token and print it, once: Watcher keeps only its hash.

    Only the token goes to standard output: TOKEN=$(watcher token create nightly --scope write)
    """
    from watcher_server.cli import tokens

    tokens.create(name, scope.value, expires, purpose)


@token_app.command("list")
def list_all() -> None:
    """List the tokens: name, scope, purpose, when made, when they expire and when last used (UTC)."""
    from watcher_server.cli import tokens

    tokens.show_all()


@token_app.command()
def rotate(
    name: Annotated[str, typer.Argument(help="The name it was made with.")],
    overlap: Annotated[str, typer.Option(help="How long the old secret works on: 24h, 30m, 0s.")] = "24h",
    expires: Expires = "365d",
) -> None:
    """Give a token a new secret and print it, once. The old one works on meanwhile.

    A token that may have been stolen: watcher token rotate NAME --overlap 0s
    """
    from watcher_server.cli import tokens

    tokens.rotate(name, overlap, expires)


@token_app.command()
def revoke(name: Annotated[str, typer.Argument(help="The name it was made with.")]) -> None:
    """Revoke a token: it stops working within seconds."""
    from watcher_server.cli import tokens

    tokens.revoke(name)


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


@limits_app.callback(invoke_without_command=True)
def show_limits(context: typer.Context) -> None:
    """Show how fast tasks may start, in the whole cluster; change it for a while with `set`."""
    if context.invoked_subcommand is None:
        from watcher_server.cli import limits

        limits.show_all()


@limits_app.command("set")
def set_limit(
    task: Annotated[str, typer.Argument(help="The task, as `watcher limits` names it.")],
    limit: Annotated[str, typer.Argument(help="100/s, 90/m or 500/h; none for no limit.")],
    minutes: Annotated[int, typer.Option(min=1, max=1440, help="For how many minutes.")] = 60,
) -> None:
    """Have another limit hold for a while, without a restart.

    For a backfill: watcher limits set detect_anomalies_task none --minutes 30
    """
    from watcher_server.cli import limits

    limits.override(task, limit, minutes)


@limits_app.command("reset")
def reset_limit(task: Annotated[str, typer.Argument(help="The task, as `watcher limits` names it.")]) -> None:
    """Have the configured limit hold again, now."""
    from watcher_server.cli import limits

    limits.reset(task)


@tasks_app.command("list")
def list_tasks(
    *,
    state: Annotated[TaskState | None, typer.Option(case_sensitive=False, help="Only those in this state.")] = None,
    name: Annotated[str | None, typer.Option(help="Only those of this task, such as detect_anomalies_task.")] = None,
    pipeline: Annotated[int | None, typer.Option(help="Only those of the pipeline with this id.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most this number.")] = 50,
) -> None:
    """List tasks, the newest first.

    What failed, and why: watcher tasks list --state failure
    """
    from watcher_server.cli import tasks

    tasks.show_all(state, name, pipeline, limit)


@tasks_app.command("show")
def show_task(task_id: Annotated[str, typer.Argument(metavar="ID", help="As the list shows it.")]) -> None:
    """Show everything about a task: arguments, times, failed tries, traceback."""
    from watcher_server.cli import tasks

    tasks.show_one(task_id)


@tasks_app.command("retry")
def retry_tasks(
    *,
    task_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="The failed task to run again.")] = None,
    all_failed: Annotated[bool, typer.Option("--all-failed", help="All of them.")] = False,
    name: Annotated[str | None, typer.Option(help="With --all-failed: only those of this task.")] = None,
) -> None:
    """Run failed tasks again, under the same ids and with the same arguments."""
    from watcher_server.cli import tasks

    tasks.retry(task_id, name, all_failed=all_failed)


def main() -> None:
    """Run the command; an expected failure is one sentence on standard error and status 1."""
    try:
        app(prog_name="watcher")
    except expected_errors() as error:
        sys.stderr.write(f"watcher: {escape_controls(typeable(str(error)))}\n")
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
