"""How ``watcher status`` looks: four blocks that fit into 80 columns."""

from collections.abc import Sequence
from itertools import chain

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from watcher_server.cli.program import typeable
from watcher_server.cli.snapshot import Service, Snapshot, Work
from watcher_server.kit.durations import duration_text
from watcher_server.queue_monitor.alerts import level_of
from watcher_server.queue_monitor.depths import QueueState
from watcher_server.rate_limits.service import TaskLimit, limit_text
from watcher_server.settings import Settings
from watcher_server.workers.service import KnownWorker, WorkerState

_NOTHING = "-"
# Of the workers that stopped or died within the last hour.
_MOST_GONE = 5
_WORKER_STYLES = {WorkerState.ALIVE: "green", WorkerState.DIED: "red", WorkerState.STOPPED: "dim"}
_LEVEL_STYLES = {None: "", "INFO": "cyan", "WARNING": "yellow", "CRITICAL": "red"}


def render(snapshot: Snapshot, settings: Settings) -> RenderableType:
    """The snapshot for people."""
    blocks: list[RenderableType] = [_services(snapshot.services)]
    if snapshot.work is not None:
        blocks += _work(snapshot.work, settings)
    return Group(*chain.from_iterable((block, "") for block in blocks[:-1]), blocks[-1])


def _work(work: Work, settings: Settings) -> list[RenderableType]:
    blocks: list[RenderableType] = [_workers(work.workers)] if work.workers else []
    if work.state is not None:
        blocks += [_queues(work.state, settings), _tasks(work.state, work.limits)]
        blocks += _notes(work, work.state)
    return blocks


def _table(*columns: str, texts: int) -> Table:
    """A table without lines; the first so many columns hold text, the others numbers."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for number, column in enumerate(columns):
        is_text = number < texts
        # Where there is too little room, names are cut, and numbers never.
        table.add_column(column, justify="left" if is_text else "right", no_wrap=not is_text, overflow="ellipsis")
    return table


def _services(services: Sequence[Service]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for service in services:
        style = "green" if service.is_good else "red"
        # Text, because a plain string is read as markup, and this one quotes what others wrote.
        table.add_row(Text("●", style=style), service.name, Text(typeable(service.text), style=style))
    return table


def _workers(workers: Sequence[KnownWorker]) -> Table:
    table = _table("Worker", "Host", "State", "PID", "Active", "Seen", texts=3)
    gone = [worker for worker in workers if worker.state is not WorkerState.ALIVE]
    hidden = gone[_MOST_GONE:]
    for worker in workers:
        if worker in hidden:
            continue
        table.add_row(
            Text(worker.name),
            Text(worker.host),
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
        level = level_of(load.pending, None, settings)
        table.add_row(
            Text(queue, style=_LEVEL_STYLES[level]),
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
    """The tasks that have a limit, and those of which there is anything to say."""
    in_force = {limit.task: limit for limit in limits}
    table = _table("Task", "Pending", "Limit", "Out/min", "Failed", texts=1)
    for task in dict.fromkeys([*state.tasks, *state.failed_tasks, *in_force]):
        load = state.tasks.get(task)
        failed = state.failed_tasks.get(task, 0)
        table.add_row(
            Text(task),
            _count(load.pending if load else 0),
            _limit(in_force.get(task)),
            _count(load.out_per_minute if load else 0),
            Text(f"{failed:,}", style="red" if failed else ""),
        )
    return table


def _notes(work: Work, state: QueueState) -> list[RenderableType]:
    """What is to be known beyond the numbers, and what to do about it."""
    notes = [
        f"The limit of {limit.task} is {limit_text(limit.in_force)} until {limit.until:%a %H:%M} UTC, "
        f"then {limit_text(limit.configured)} again."
        for limit in work.limits
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


def _limit(limit: TaskLimit | None) -> Text:
    if limit is None:
        return Text("none")
    return Text(limit_text(limit.in_force), style="" if limit.until is None else "yellow")


def _count(number: int | None) -> str:
    return _NOTHING if number is None else f"{number:,}"


def _duration(seconds: float | None) -> str:
    return _NOTHING if seconds is None else duration_text(seconds)
