"""Celery's configuration."""

from typing import Any

from celery.schedules import crontab
from kombu import Queue

from watcher_server.settings import Settings
from watcher_server.tasking.sending.broker import celery_broker
from watcher_server.tasking.wire import MAIN_QUEUE, QUEUES, SCHEDULED_QUEUE


def beat_schedule(settings: Settings) -> dict[str, dict[str, Any]]:
    """The tasks that beat sends, each with its schedule (cron, UTC). The keeper's duties are not among them."""

    def every(cron: str, task: str, **kwargs: Any) -> dict[str, Any]:
        schedule = crontab.from_string(cron)
        return {"task": task, "schedule": schedule, "kwargs": kwargs, "options": {"queue": SCHEDULED_QUEUE}}

    lookback = settings.timeliness_check_lookback_minutes
    entries = {
        "freshness": every(settings.freshness_check_schedule, "freshness_check_task"),
        "timeliness": every(settings.timeliness_check_schedule, "timeliness_check_task", lookback_minutes=lookback),
        "schedules": every(settings.schedule_check_schedule, "schedule_check_task"),
        # A day is summed an hour after it has ended.
        "daily metrics": every("10 * * * *", "daily_metrics_task"),
    }
    if settings.retention_days is not None:
        days = settings.retention_days
        entries["retention"] = every(settings.retention_schedule, "retention_task", retention_days=days)
    return entries


def visibility_timeout_seconds(settings: Settings) -> int:
    """After how many seconds the broker gives a message that a worker holds to another worker.

    Longer than the longest back-off and the hard time limit together, so that no task of a living worker is given away.
    """
    doublings = max(0, settings.task_max_retries - 1)
    delay = max(settings.task_retry_delay_seconds, settings.closure_retry_delay_seconds)
    backoff = int(min(settings.task_retry_delay_cap_seconds, delay * 2.0 ** min(doublings, 60)))
    return backoff + settings.task_time_limit_seconds + 60


def broker_configuration(settings: Settings) -> dict[str, Any]:
    """How to reach the broker and which queues there are. The relay needs no more."""
    broker = celery_broker(settings.broker)
    return broker | {
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # A primary that becomes a replica answers READONLY and UNBLOCKED. To kombu these are no errors of the
        # connection, and without this they end a worker.
        "broker_channel_error_retry": True,
        "broker_transport_options": broker["broker_transport_options"]
        | {
            "visibility_timeout": visibility_timeout_seconds(settings),
            "socket_connect_timeout": 5,
            "socket_timeout": 30,
            "socket_keepalive": True,
        },
        "task_default_queue": MAIN_QUEUE,
        "task_queues": [Queue(name) for name in QUEUES],
        "task_serializer": "json",
        "accept_content": ["json"],
        "enable_utc": True,
        "timezone": "UTC",
    }


def celery_configuration(settings: Settings) -> dict[str, Any]:
    """The whole configuration of workers and beat."""
    return broker_configuration(settings) | {
        "result_backend": "watcher_server.tasking.history.backend:TaskBackend",
        "result_extended": True,
        # A task is acknowledged when it is done: a worker that dies gives it back.
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "task_time_limit": settings.task_time_limit_seconds,
        "task_soft_time_limit": settings.task_time_limit_seconds - 5,
        "worker_concurrency": settings.worker_processes,
        "worker_consumer": "watcher_server.tasking.workers.foreign:WatcherConsumer",
        "worker_autoscaler": "watcher_server.tasking.workers.autoscaler:QueueDepthAutoscaler",
        "worker_send_task_events": True,
        "beat_schedule": beat_schedule(settings),
        "beat_scheduler": "watcher_server.tasking.sending.scheduler:OutboxScheduler",
    }
