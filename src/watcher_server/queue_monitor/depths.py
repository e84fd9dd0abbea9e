"""Measuring the queues: database, broker and workers put together."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, select
from sqlalchemy.ext.asyncio import AsyncEngine

from watcher_server.kit.errors import UnavailableError
from watcher_server.queue_monitor.broker_depths import BrokerDepths, Kind, read_broker_depths
from watcher_server.queue_monitor.load import Load, loads_by_kind, slowest, time_to_drain, total_load
from watcher_server.queue_monitor.models import QueueAlertState
from watcher_server.queue_monitor.table_depths import TableDepths, count_failed_tasks, read_table_depths
from watcher_server.queueing.configuration import MAIN_QUEUE, SCHEDULED_QUEUE
from watcher_server.rate_limits.service import list_limits
from watcher_server.settings import Settings
from watcher_server.workers.service import count_active_workers, count_active_workers_by_queue


@dataclass(frozen=True)
class QueueState:
    """The queues at one moment.

    ``queues`` has Watcher's own two and every other in which something is; ``tasks`` has the most pending first.
    ``failed_tasks`` counts the failed tasks that are kept, ``workers`` the living workers of each queue.
    ``broker_error`` says why the broker's numbers are missing. The broker's messages are read up to some thousands:
    those beyond count as the task ``unknown``, and what is unacknowledged is whole in ``total`` only.
    """

    total: Load
    queues: Mapping[str, Load]
    tasks: Mapping[str, Load]
    failed_tasks: Mapping[str, int]
    workers_active: int
    workers: Mapping[str, int]
    broker_error: str | None


@dataclass(frozen=True)
class _Tables:
    """What the database knows; ``limits`` are tasks per second."""

    depths: Sequence[TableDepths]
    queues: Sequence[str]
    limits: Mapping[str, float]
    failed_tasks: Mapping[str, int]
    workers_active: int
    workers: Mapping[str, int]


def measure_queues(connection: Connection, settings: Settings) -> QueueState:
    """Look at database and broker. No worker needs to answer; a broker that does not takes a few seconds at most."""
    tables = _read_tables(connection, settings)
    return _combine(tables, *_ask_broker(settings, tables.queues))


async def measure_queues_async(engine: AsyncEngine, settings: Settings) -> QueueState:
    """As :func:`measure_queues`, for the api; no connection is held while the broker is asked."""
    async with engine.connect() as connection:
        tables = await connection.run_sync(_read_tables, settings)
    return _combine(tables, *await asyncio.to_thread(_ask_broker, settings, tables.queues))


def _read_tables(connection: Connection, settings: Settings) -> _Tables:
    depths = read_table_depths(connection)
    workers = count_active_workers_by_queue(connection)
    alerted = connection.scalars(select(QueueAlertState.queue).where(QueueAlertState.level.is_not(None)))
    others = sorted({*(part.queue for part in depths), *workers, *alerted})
    limits = {limit.task: limit.in_force for limit in list_limits(connection, settings) if limit.in_force is not None}
    return _Tables(
        depths=depths,
        queues=list(dict.fromkeys((MAIN_QUEUE, SCHEDULED_QUEUE, *others))),
        limits=limits,
        failed_tasks=count_failed_tasks(connection),
        workers_active=count_active_workers(connection),
        workers=workers,
    )


def _ask_broker(settings: Settings, queues: Sequence[str]) -> tuple[BrokerDepths | None, str | None]:
    try:
        return read_broker_depths(settings.broker, queues), None
    except UnavailableError as error:
        return None, str(error)


def _combine(tables: _Tables, broker: BrokerDepths | None, broker_error: str | None) -> QueueState:
    kinds = loads_by_kind(tables.depths, broker)
    answers = broker is not None
    tasks = _tasks(kinds, tables, broker_answers=answers)
    queues = {
        queue: _queue({task: load for (of, task), load in kinds.items() if of == queue}, tasks, tables, answers)
        for queue in tables.queues
    }
    total = replace(
        total_load(queues.values(), broker_answers=answers),
        unacknowledged=None if broker is None else broker.unacknowledged_total,
        seconds_to_drain=slowest(load.seconds_to_drain for load in queues.values()),
    )
    return QueueState(total, queues, tasks, tables.failed_tasks, tables.workers_active, tables.workers, broker_error)


def _tasks(kinds: Mapping[Kind, Load], tables: _Tables, *, broker_answers: bool) -> dict[str, Load]:
    loads = {}
    for task in dict.fromkeys(task for _, task in kinds):
        parts = {queue: load for (queue, of), load in kinds.items() if of == task}
        load = total_load(parts.values(), broker_answers=broker_answers)
        is_served = any(tables.workers.get(queue) for queue in parts)
        seconds = time_to_drain(load, tables.limits.get(task), is_served=is_served)
        loads[task] = replace(load, seconds_to_drain=seconds)
    return dict(sorted(loads.items(), key=lambda item: -item[1].pending))


def _queue(parts: Mapping[str, Load], tasks: Mapping[str, Load], tables: _Tables, broker_answers: bool) -> Load:
    """The load of a queue. It is drained when the slowest of its limited tasks is, and all of the others together."""
    load = total_load(parts.values(), broker_answers=broker_answers)
    limited = {task for task in parts if task in tables.limits}
    others = total_load((parts[task] for task in parts if task not in limited), broker_answers=broker_answers)
    times = [tasks[task].seconds_to_drain for task in limited if parts[task].pending]
    times.append(time_to_drain(others, None, is_served=False))
    return replace(load, seconds_to_drain=slowest(times))
