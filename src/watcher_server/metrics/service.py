"""What Prometheus reads from the api. All of it is read from database and broker, so every api process answers alike.

Names and labels are those of danihodovic's celery-exporter where it has one.
"""

import asyncio
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from watcher_server.alerts.broken import read_health
from watcher_server.auth.service import count_failed_logins
from watcher_server.http.ignored import read_ignored
from watcher_server.incidents.kinds import TEXTS
from watcher_server.incidents.tally import IncidentFigures, Times, read_figures
from watcher_server.kit.errors import UnavailableError
from watcher_server.kit.fields import ResponseBody
from watcher_server.openlineage.counting import Figures
from watcher_server.openlineage.counting import read_figures as read_openlineage
from watcher_server.pipelines.board import count_statuses
from watcher_server.settings import Settings
from watcher_server.tasking.history.overdue import measure_overdue_checks
from watcher_server.tasking.limits.service import TaskLimit, list_limits
from watcher_server.tasking.queues.broker_depths import read_broker_depths
from watcher_server.tasking.queues.depths import QueueState, measure_queues_async
from watcher_server.tasking.wire import QUEUES
from watcher_server.tasking.workers.service import KnownWorker, WorkerState, list_workers


def incident_families(figures: IncidentFigures) -> Iterator[Metric]:
    """How many incidents there are and were, and how long people took."""
    labels = ("kind", "level", "state")
    living = GaugeMetricFamily("watcher_incidents", "Incidents that are not resolved.", labels=labels)
    # Each kind has a series also while nothing is wrong, at the level that it usually has.
    numbers = {(kind.value, about.level.value, "open"): 0 for kind, about in TEXTS.items()}
    numbers |= {(live.kind, live.level, live.state): live.number for live in figures.live}
    for values, number in numbers.items():
        living.add_metric(values, number)
    yield living
    yield _counters("watcher_incident_opened", "Incidents that opened.", "kind", figures.opened)
    yield _histogram(
        "watcher_incident_acknowledge_seconds",
        "Seconds from when an incident opened to when somebody acknowledged it.",
        figures.acknowledged,
    )
    yield _histogram(
        "watcher_incident_resolve_seconds",
        "Seconds from when an incident opened to when it was resolved.",
        figures.resolved,
    )


def _histogram(name: str, meaning: str, times: Times) -> Metric:
    buckets = [("+Inf" if math.isinf(bound) else f"{bound:.1f}", number) for bound, number in times.numbers.items()]
    return HistogramMetricFamily(name, meaning, buckets=buckets, sum_value=times.seconds)


def openlineage_families(figures: Figures) -> Iterator[Metric]:
    """What became of events, what waits and what failed."""
    events = CounterMetricFamily(
        "watcher_openlineage_events", "Events that were looked at.", labels=("integration", "result")
    )
    for labels, number in figures.events.items():
        events.add_metric(labels, number)
    yield events
    stored = "Bytes of these events as they are stored, compressed."
    yield _counters("watcher_openlineage_bytes", stored, "integration", figures.bytes)
    dropped = "Facets that could not be read, or are not known."
    yield _counters("watcher_openlineage_dropped_facets", dropped, "facet", figures.dropped_facets)
    now = figures.waiting
    yield _gauge("watcher_openlineage_waiting", "Events that are not applied yet.", now.waiting)
    oldest = now.oldest_waiting_seconds or 0.0
    yield _gauge("watcher_openlineage_oldest_waiting_seconds", "How long the oldest of them has waited.", oldest)
    yield _gauge("watcher_openlineage_failed", "Events that could not be applied.", now.failed)


class TargetGroup(ResponseBody):
    """A group of targets as Prometheus reads them (``http_sd_config``): ``host:port``, and labels for relabelling."""

    targets: list[str]
    labels: dict[str, str]


class _Shared(NamedTuple):
    """What the database has beside the queues."""

    workers: Sequence[KnownWorker]
    limits: Sequence[TaskLimit]
    overdue: Mapping[str, float]
    pipelines: Mapping[str, int]
    failed_logins: Mapping[str, int]
    ignored_fields: Mapping[str, int]
    incidents: IncidentFigures
    channels: Mapping[str, bool]
    openlineage: Figures


async def expose_metrics(engine: AsyncEngine, settings: Settings, accept: str) -> tuple[bytes, str]:
    """The metrics as text, and its content type, in the format that the Accept header asks for.

    What cannot be measured is left out, and ``watcher_database_up`` or ``watcher_broker_up`` is 0.
    """
    registry = CollectorRegistry()
    registry.register(_Families(await _measure(engine, settings)))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


def find_scrape_targets(connection: Connection) -> list[TargetGroup]:
    """The ports of the living workers that have one."""
    return [
        TargetGroup(targets=[urlsplit(worker.metrics_url).netloc], labels={"__meta_watcher_worker": worker.name})
        for worker in list_workers(connection)
        if worker.state is WorkerState.ALIVE and worker.metrics_url
    ]


async def _measure(engine: AsyncEngine, settings: Settings) -> list[Metric]:
    try:
        # Together with the two seconds of a silent broker less than the ten that Prometheus waits by default.
        async with asyncio.timeout(5.0):
            queues = await measure_queues_async(engine, settings)
            async with engine.connect() as connection:
                shared = await connection.run_sync(_read_shared, settings)
    except (TimeoutError, SQLAlchemyError, OSError):
        return await _measure_broker_alone(settings)
    broker = _broker_families(queues) if queues.broker_error is None else []
    return [*_up(database=True, broker=queues.broker_error is None), *broker, *_database_families(queues, shared)]


def _read_shared(connection: Connection, settings: Settings) -> _Shared:
    workers = list_workers(connection)
    starts = [worker.started_at for worker in workers if worker.state is WorkerState.ALIVE]
    return _Shared(
        workers=workers,
        limits=list_limits(connection, settings),
        overdue=measure_overdue_checks(connection, settings, min(starts, default=None)),
        pipelines=count_statuses(connection),
        failed_logins=count_failed_logins(connection),
        ignored_fields=read_ignored(connection),
        incidents=read_figures(connection),
        channels=read_health(connection),
        openlineage=read_openlineage(connection),
    )


async def _measure_broker_alone(settings: Settings) -> list[Metric]:
    try:
        depths = await asyncio.to_thread(read_broker_depths, settings.broker, QUEUES)
    except UnavailableError:
        return list(_up(database=False, broker=False))
    ready = dict.fromkeys(QUEUES, 0)
    for (queue, _), number in depths.ready.items():
        ready[queue] += number
    return [*_up(database=False, broker=True), *_held_by_broker(ready, depths.unacknowledged_total)]


def _up(*, database: bool, broker: bool) -> Iterator[Metric]:
    yield _gauge("watcher_up", "1: the api answers.", 1)
    yield _gauge("watcher_database_up", "Whether the database answers.", database)
    yield _gauge("watcher_broker_up", "Whether the broker answers.", broker)


def _held_by_broker(ready: Mapping[str, int], unacknowledged: int) -> Iterator[Metric]:
    yield _gauges("watcher_queue_ready", "Messages that wait in the broker for a worker.", "queue_name", ready)
    yield _gauge("watcher_queue_unacknowledged", "Messages that workers hold.", unacknowledged)


def _broker_families(state: QueueState) -> Iterator[Metric]:
    yield from _held_by_broker(
        {queue: load.ready or 0 for queue, load in state.queues.items()}, state.total.unacknowledged or 0
    )
    yield _gauges(
        "celery_queue_length",
        "Tasks that wait to run: ready in the broker, and due in the outbox.",
        "queue_name",
        {queue: load.pending for queue, load in state.queues.items()},
    )
    yield _gauges(
        "watcher_queue_drain_seconds",
        "Seconds until what waits has gone out, at the rate of the last minute or the limit; +Inf when nothing does.",
        "queue_name",
        {queue: _or_infinity(load.seconds_to_drain) for queue, load in state.queues.items()},
    )


def _database_families(state: QueueState, shared: _Shared) -> Iterator[Metric]:
    limits = {limit.task: _or_infinity(limit.in_force) for limit in shared.limits}
    # Known tasks always have a number: Prometheus sees no increase in a series that begins above zero.
    nothing = dict.fromkeys([*limits, *shared.overdue], 0)
    outbox = nothing | {task: load.outbox_pending for task, load in state.tasks.items()}
    failed = nothing | dict(state.failed_tasks)
    oldest = {queue: load.oldest_seconds or 0.0 for queue, load in state.queues.items()}
    yield _gauge("watcher_queue_scheduled", "Tasks that are to run later, such as retries.", state.total.scheduled)
    yield _gauges("watcher_queue_oldest_seconds", "How long the oldest has waited to run.", "queue_name", oldest)
    yield from _worker_families(state, shared.workers)
    yield _gauges("watcher_outbox_messages", "Tasks that are due and not yet published.", "task", outbox)
    yield _gauges("watcher_tasks_failed", "Tasks that failed for good and are kept.", "name", failed)
    yield _gauges(
        "watcher_rate_limit_per_second", "Starts per second that are allowed in the whole cluster.", "name", limits
    )
    yield _gauges(
        "watcher_scheduled_check_overdue_seconds",
        "Seconds since a scheduled task should have been sent and succeeded; 0 when it was.",
        "name",
        shared.overdue,
    )
    yield _gauges("watcher_channel_up", "Whether a channel took what it was sent last.", "channel", shared.channels)
    yield _gauges("watcher_pipelines", "Pipelines by the worst word that holds of each.", "status", shared.pipelines)
    yield _counters("watcher_failed_logins", "Wrong tokens that were shown.", "kind", shared.failed_logins)
    yield _counters(
        "watcher_requests_with_ignored_fields",
        "Requests that had fields that their path does not know.",
        "path",
        shared.ignored_fields,
    )
    yield from incident_families(shared.incidents)
    yield from openlineage_families(shared.openlineage)


def _worker_families(state: QueueState, workers: Sequence[KnownWorker]) -> Iterator[Metric]:
    alive = [worker for worker in workers if worker.state is WorkerState.ALIVE]
    counts = {queue: state.workers.get(queue, 0) for queue in state.queues}
    processes = {queue: sum(worker.processes for worker in alive if queue in worker.queues) for queue in state.queues}
    died = {worker.name: 0 for worker in workers if worker.state is WorkerState.DIED}
    up = died | {worker.name: 1 for worker in alive}
    yield _gauges("celery_active_worker_count", "Living workers that serve a queue.", "queue_name", counts)
    yield _gauges("celery_active_process_count", "Tasks that they can run at once.", "queue_name", processes)
    yield _gauges(
        "celery_worker_up",
        "1 for a living worker, 0 for one that died within the last hour without saying so.",
        "hostname",
        up,
    )


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, value=float(value))


def _gauges(name: str, meaning: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, meaning, labels=(label,))
    for value_of, value in values.items():
        family.add_metric((value_of,), float(value))
    return family


def _counters(name: str, meaning: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, meaning, labels=(label,))
    for value_of, value in values.items():
        family.add_metric((value_of,), value)
    return family


def _or_infinity(number: float | None) -> float:
    return math.inf if number is None else number


class _Families(Collector):
    """What one scrape measured."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics
