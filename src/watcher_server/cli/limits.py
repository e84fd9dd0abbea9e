"""``watcher limits``: how fast tasks may start."""

import sys
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from watcher_server.cli.databases import command_transaction
from watcher_server.cli.errors import CommandError
from watcher_server.cli.groups import new_group
from watcher_server.cli.terminal import console
from watcher_server.kit.text import escape_controls
from watcher_server.settings import get_settings, rate_per_second
from watcher_server.tasking.limits.service import limit_text, list_limits, override_limit, reset_limit

app = new_group()


def show_all() -> None:
    """Print a table of the tasks that can have a limit."""
    with command_transaction() as connection:
        limits = list_limits(connection, get_settings())
    table = Table("Task", "Configured", "In force", "Until (UTC)")
    table.columns[0].no_wrap = True
    for limit in limits:
        table.add_row(limit.task, limit_text(limit.configured), limit_text(limit.in_force), _weekday(limit.until))
    console().print(table)


@app.command("set")
def override(
    task: Annotated[str, typer.Argument(help="The task, as `watcher limits` names it.")],
    limit: Annotated[str, typer.Argument(help="100/s, 90/m or 500/h; none for no limit.")],
    minutes: Annotated[int, typer.Option(min=1, max=1440, help="For how many minutes.")] = 60,
) -> None:
    """Have another limit hold for a while, without a restart.

    For a backfill: watcher limits set detect_anomalies_task none --minutes 30
    """
    try:
        per_second = rate_per_second(limit)
    except ValueError as error:
        raise CommandError(f"The limit {error}.") from None
    with command_transaction() as connection:
        changed = override_limit(connection, get_settings(), task, per_second, minutes)
    sys.stdout.write(
        f"The limit of {escape_controls(task)} is {limit_text(changed.in_force)} until {_weekday(changed.until)} UTC, "
        f"then {limit_text(changed.configured)} again.\n"
    )


@app.command("reset")
def reset(task: Annotated[str, typer.Argument(help="The task, as `watcher limits` names it.")]) -> None:
    """Have the configured limit hold again, now."""
    with command_transaction() as connection:
        limit = reset_limit(connection, get_settings(), task)
    sys.stdout.write(f"The limit of {escape_controls(task)} is {limit_text(limit.in_force)}, as configured.\n")


def _weekday(moment: datetime | None) -> str:
    # It is at most a day away, and a whole date would not fit beside the longest task name.
    return "" if moment is None else f"{moment.astimezone(UTC):%a %H:%M}"
