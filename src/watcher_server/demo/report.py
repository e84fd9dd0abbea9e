"""The anomalies that Watcher found in the replayed days."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import Any

from rich.table import Table

from watcher_server.demo.client import WatcherClient
from watcher_server.demo.dates import ReplayDates
from watcher_server.demo.warehouse import Warehouse

# The relay and the workers hold a few tasks that no queue counts, so the queues must stay empty for a moment.
QUIET_POLLS = 3
# If nothing has moved for this long, no worker runs.
STALL_SECONDS = 120.0


@dataclass(frozen=True)
class FlaggedDay:
    """A day of 2013: how many of its pipelines ran, how many were flagged, and the flights they loaded.

    ``execution_id`` is the execution of the daily load, the parent of them all.
    """

    day: date
    execution_id: int
    flagged: int
    ran: int
    flights: int


def wait_for_analysis(client: WatcherClient, on_progress: Callable[[int], None]) -> bool:
    """Wait until no background task is pending; false if nothing has moved for two minutes.

    ``on_progress`` gets the number of pending tasks about once a second.
    """
    fewest = client.count_pending_tasks()
    moved_at = time.monotonic()
    quiet = 0
    while quiet < QUIET_POLLS:
        pending = client.count_pending_tasks()
        on_progress(pending)
        quiet = quiet + 1 if pending == 0 else 0
        if pending < fewest:
            fewest, moved_at = pending, time.monotonic()
        elif pending and time.monotonic() - moved_at > STALL_SECONDS:
            return False
        time.sleep(1)
    return True


def count_flagged(client: WatcherClient, warehouse: Warehouse) -> list[FlaggedDay]:
    """Every replayed day, the one with the most flagged pipelines first."""
    nights = groupby(warehouse.find_nightly_runs(), key=lambda night: night[0])
    days = [_count_day(client, day, [execution_id for _, execution_id in runs]) for day, runs in nights]
    return sorted(days, key=lambda day: (-day.flagged, day.day))


def _count_day(client: WatcherClient, day: date, execution_ids: list[int]) -> FlaggedDay:
    loads = [
        load
        for execution_id in execution_ids
        for load in client.read_execution(execution_id)["child_executions"]
        if load["completed_successfully"]
    ]
    flagged = {load["pipeline_id"] for load in loads if any(load["anomaly_flags"].values())}
    ran = {load["pipeline_id"] for load in loads}
    return FlaggedDay(day, execution_ids[-1], len(flagged), len(ran), flights=sum(load["inserts"] for load in loads))


def flagged_days_table(days: list[FlaggedDay], dates: ReplayDates) -> Table:
    """The days with the most flagged pipelines."""
    table = Table("Day in 2013", "Replayed as", title="Days on which most pipelines were flagged")
    table.add_column("Flagged pipelines", justify="right")
    table.add_column("Flights loaded", justify="right")
    for day in days[:10]:
        if day.flagged:
            table.add_row(
                f"{day.day:%a %d %b %Y}",
                f"{dates.moved(day.day):%Y-%m-%d}",
                f"{day.flagged} of {day.ran}",
                f"{day.flights:,}",
            )
    return table


def incidents_table(incidents: list[dict[str, Any]]) -> Table:
    """What is wrong right now: the incidents that nothing explains, and how many others each of them explains."""
    table = Table("Incident", "Kind", "Pipeline", "What", title="Open incidents")
    table.add_column("Explains", justify="right")
    for incident in incidents:
        if incident["root_id"] is None:
            name = incident["pipeline_name"] or incident["subject"]
            effects = str(incident["effects"]) if incident["effects"] else ""
            table.add_row(f"#{incident['id']}", incident["kind"], name, incident["detail"], effects)
    return table


def next_steps(url: str, days: list[FlaggedDay]) -> Iterator[str]:
    """Sentences on what to open now."""
    yield f"What is wrong right now, and who has it: {url}/ui/incidents"
    yield f"How all pipelines do: {url}/ui"
    if days and days[0].flagged:
        yield f"The loads of {days[0].day:%d %B %Y} with their flags: {url}/ui/executions/{days[0].execution_id}"
    yield f"Everything that stood out: {url}/ui/anomalies"
    yield f"What the pipelines read and wrote: {url}/lineage-graph"
    yield f"Counts and failures by day: {url}/reporting"
    yield f"The API: {url}/docs"
