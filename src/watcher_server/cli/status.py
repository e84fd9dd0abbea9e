"""``watcher status``: what runs, and how far behind it is."""

import sys
import time
from contextlib import suppress
from datetime import UTC, datetime

from pydantic_core import to_json
from rich.console import Group
from rich.live import Live
from rich.text import Text

from watcher_server.cli.errors import CommandError
from watcher_server.cli.signals import StopSignals
from watcher_server.cli.snapshot import Snapshot, take_snapshot
from watcher_server.cli.status_view import render
from watcher_server.cli.terminal import console
from watcher_server.embedded.running import find_api_url, settings_beside_up
from watcher_server.settings import Settings
from watcher_server.tasking.queues.reports import report_queues
from watcher_server.tasking.workers.service import WorkerResponse


def show_status() -> bool:
    """Print what runs, and return whether all of it runs as it should; raises CommandError if nothing runs."""
    settings = settings_beside_up()
    snapshot = take_snapshot(settings)
    if not snapshot.anything_runs:
        url = find_api_url(settings)
        raise CommandError(f"Nothing runs at {url} or on {settings.home}: start Watcher with `watcher up`.")
    console().print(render(snapshot, settings))
    return snapshot.is_good


def print_status_as_json() -> bool:
    """As :func:`show_status`, for programs. It prints JSON also while nothing runs."""
    settings = settings_beside_up()
    snapshot = take_snapshot(settings)
    sys.stdout.write(to_json(_report(snapshot, settings), indent=2).decode() + "\n")
    return snapshot.is_good


def _report(snapshot: Snapshot, settings: Settings) -> dict[str, object]:
    services = {service.name.lower(): {"ok": service.is_good, "text": service.text} for service in snapshot.services}
    work = snapshot.work
    return {
        "ok": snapshot.is_good,
        "services": services,
        "workers": [] if work is None else [WorkerResponse.model_validate(worker) for worker in work.workers],
        "queues": None if work is None or work.state is None else report_queues(work.state, settings),
        "limits": [] if work is None else work.limits,
    }


def watch_status() -> None:
    """Show what runs, again every two seconds, until Ctrl-C; raises CommandError if the output is no terminal."""
    screen = console()
    if not screen.is_terminal:
        raise CommandError("--watch needs a terminal: leave it out, or use --json.")
    with suppress(KeyboardInterrupt), StopSignals(), Live(console=screen, screen=True, auto_refresh=False) as live:
        while True:
            settings = settings_beside_up()
            now = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC, every 2 seconds, Ctrl-C ends"
            shown = Group(Text(now, style="dim"), "", render(take_snapshot(settings), settings))
            live.update(shown, refresh=True)
            time.sleep(2)
