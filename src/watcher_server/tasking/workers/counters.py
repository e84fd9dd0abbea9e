"""What a worker counts about its tasks, under the names and labels of danihodovic's celery-exporter where it has one.

The worker's main process counts, and its own port shows the numbers. The processes of its pool count nothing. The
specification asks for it: "Prometheus: Custom metrics for task performance".
"""

from functools import cache
from typing import Any, TypeVar

from celery.signals import worker_ready
from celery.worker import state
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.process_collector import ProcessCollector

# They show when each series began, double the number of series, and are used by nothing.
disable_created_metrics()  # type: ignore[no-untyped-call]

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

Metric = TypeVar("Metric", Counter, Histogram)

_LABELS = ("hostname", "name", "queue_name")


def _counter(name: str, meaning: str, *further_labels: str) -> Counter:
    return Counter(name, meaning, (*_LABELS, *further_labels), registry=REGISTRY)


RECEIVED = _counter("celery_task_received", "Messages that the worker took from the broker.")
STARTED = _counter("celery_task_started", "Tasks that a process of the worker began.")
SUCCEEDED = _counter("celery_task_succeeded", "Tasks that ended well.")
FAILED = _counter("celery_task_failed", "Tasks that failed for good, by the class of the error.", "exception")
RETRIED = _counter("celery_task_retried", "Tries that failed and will be repeated, by the class.", "exception")
REJECTED = _counter("celery_task_rejected", "Tasks given back to the broker, such as those of a killed process.")
REVOKED = _counter("celery_task_revoked", "Tasks that were revoked, terminated or expired.")
FOREIGN = Counter(
    "watcher_foreign_tasks",
    "Tasks of other programs that were set aside.",
    ("hostname", "queue_name"),
    registry=REGISTRY,
)
RUNTIME = Histogram(
    "celery_task_runtime",
    "Seconds that tasks which ended well took.",
    _LABELS,
    # From the quickest check to the hard time limit.
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300),
    registry=REGISTRY,
)
WAIT = Histogram(
    "watcher_task_wait_seconds",
    "Seconds from the moment at which a task was due to its start.",
    _LABELS,
    buckets=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600),
    registry=REGISTRY,
)
_UP = Gauge("celery_worker_up", "1 while the worker answers.", ("hostname",), registry=REGISTRY)
_ACTIVE = Gauge("celery_worker_tasks_active", "Tasks under way.", ("hostname",), registry=REGISTRY)


@cache
def series(metric: Metric, *labels: str) -> Metric:
    """What the metric counts for these labels; prometheus_client takes longer to find it than to count."""
    return metric.labels(*labels)


@worker_ready.connect
def show_worker(sender: Any, **_: Any) -> None:
    """Begin the worker's series at zero: Prometheus sees no increase in a series that begins at one."""
    hostname = sender.hostname
    _UP.labels(hostname).set(1)
    _ACTIVE.labels(hostname).set_function(lambda: len(state.active_requests))
    tasks = [name for name in sender.app.tasks if not name.startswith("celery.")]
    for queue in sender.app.amqp.queues.consume_from:
        FOREIGN.labels(hostname, queue)
    for counter in (RECEIVED, STARTED, SUCCEEDED, REJECTED, REVOKED):
        for queue in sender.app.amqp.queues.consume_from:
            for name in tasks:
                counter.labels(hostname, name, queue)
