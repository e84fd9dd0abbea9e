"""How ``watcher status`` looks: four blocks that fit into 80 columns."""

from collections.abc import Sequence
from itertools import chain

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from watcher_server.cli.snapshot import Service, Snapshot
from watcher_server.cli.terminal import plain_table
from watcher_server.kit.durations import duration_text
from watcher_server.kit.terminal import typeable
from watcher_server.kit.text import escape_controls
from watcher_server.settings import Settings
from watcher_server.tasking.limits.service import TaskLimit, limit_text
from watcher_server.tasking.queues.depths import QueueState
from watcher_server.tasking.queues.levels import level_of
from watcher_server.tasking.workers.service import KnownWorker, WorkerState

_WORKER_STYLES = {WorkerState.ALIVE: "green", WorkerState.DIED: "red", WorkerState.STOPPED: "dim"}
_LEVEL_STYLES = {None: "", "INFO": "cyan", "WARNING": "yellow", "CRITICAL": "red"}


def render(snapshot: Snapshot, settings: Settings) -> RenderableType:
    """The snapshot for people."""
    work = snapshot.work
    blocks: list[RenderableType] = [_services(snapshot.services)]
    if work is not None and work.workers:
        blocks.append(_workers(work.workers))
    if work is not None and work.state is not None:
        blocks += [_queues(work.state, settings), _tasks(work.state, work.limits), *_notes(work.limits, work.state)]
    return Group(*chain.from_iterable((block, "") for block in blocks[:-1]), blocks[-1])


def _table(*columns: str, texts: int) -> Table:
    """A table without lines: ``texts`` columns of text, then columns of numbers."""
    table = plain_table()
    for number, column in enumerate(columns):
        is_text = number < texts
        # In a narrow terminal names are cut, numbers never.
        table.add_column(column, justify="left" if is_text else "right", no_wrap=not is_text, overflow="ellipsis")
    return table


def _services(services: Sequence[Service]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for service in services:
        style = "green" if service.is_good else "red"
        # Text, because rich reads a plain string as markup, and this one quotes errors.
        table.add_row(Text("●", style=style), service.name, Text(escape_controls(typeable(service.text)), style=style))
    return table


def _workers(workers: Sequence[KnownWorker]) -> Table:
    table = _table("Worker", "Host", "State", "PID", "Active", "Seen", texts=3)
    gone = [worker for worker in workers if worker.state is not WorkerState.ALIVE]
    hidden = gone[5:]
    for worker in (worker for worker in workers if worker not in hidden):
        table.add_row(
            Text(escape_controls(worker.name)),
            Text(escape_controls(worker.host)),
            Text(worker.state, style=_WORKER_STYLES[worker.state]),
            str(worker.pid),
            f"{worker.active} of {worker.processes}",
            f"{duration_text(worker.seen_seconds)} ago",
        )
    if hidden:
        table.add_row(Text(f"and {len(hidden)} more that are gone", style="dim"))
    return table


def _queues(state: QueueState, settings: Settings) -> Table:
    columns = ("Ready", "Unacked", "Later", "Outbox", "Oldest", "In/min", "Out/min", "Drains in")
    table = _table("Queue", *columns, texts=1)
    for queue, load in state.queues.items():
        table.add_row(
            Text(escape_controls(queue), style=_LEVEL_STYLES[level_of(load.pending, None, settings)]),
            _count(load.ready),
            _count(load.unacknowledged),
            _count(load.scheduled),
            _count(load.outbox_pending),
            _duration(load.oldest_seconds),
            _count(load.in_per_minute),
            _count(load.out_per_minute),
            _duration(load.seconds_to_drain),
        )
    return table


def _tasks(state: QueueState, limits: Sequence[TaskLimit]) -> Table:
    """The tasks that have a limit, that wait, or that failed."""
    in_force = {limit.task: limit for limit in limits}
    table = _table("Task", "Pending", "Limit", "Out/min", "Failed", texts=1)
    for task in dict.fromkeys([*state.tasks, *state.failed_tasks, *in_force]):
        load, limit = state.tasks.get(task), in_force.get(task)
        failed = state.failed_tasks.get(task, 0)
        table.add_row(
            Text(escape_controls(task)),
            _count(load.pending if load else 0),
            Text(limit_text(limit.in_force), style="yellow" if limit.until else "") if limit else "none",
            _count(load.out_per_minute if load else 0),
            Text(f"{failed:,}", style="red" if failed else ""),
        )
    return table


def _notes(limits: Sequence[TaskLimit], state: QueueState) -> list[RenderableType]:
    """Changed limits and failed tasks, with the commands that help."""
    notes = [
        f"The limit of {limit.task} is {limit_text(limit.in_force)} until {limit.until:%a %H:%M} UTC, "
        f"then {limit_text(limit.configured)} again."
        for limit in limits
        if limit.until is not None
    ]
    failed = sum(state.failed_tasks.values())
    if failed:
        notes += [
            f"{failed:,} failed {'task is' if failed == 1 else 'tasks are'} kept.",
            "  See why:    `watcher tasks list --state FAILURE`",
            "  Run again:  `watcher tasks retry --all-failed`",
        ]
    return [Text(typeable("\n".join(notes)))] if notes else []


def _count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def _duration(seconds: float | None) -> str:
    return "-" if seconds is None else duration_text(seconds)
