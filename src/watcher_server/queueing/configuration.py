"""Celery's configuration."""

from typing import Any

from celery.schedules import crontab
from kombu import Queue

from watcher_server.settings import Settings

MAIN_QUEUE = "celery"
# A backlog in the main queue never delays a scheduled check or an alert.
SCHEDULED_QUEUE = "scheduled"
QUEUES = (MAIN_QUEUE, SCHEDULED_QUEUE)

_VISIBILITY_MARGIN_SECONDS = 60
_REDELIVERY_SCHEDULE = "*/15 * * * *"
# A day is summed an hour after it has ended.
_DAILY_METRICS_SCHEDULE = "10 * * * *"


def _beat_schedule(settings: Settings) -> dict[str, dict[str, Any]]:
    def every(cron: str, task: str, **kwargs: Any) -> dict[str, Any]:
        schedule = crontab.from_string(cron)
        return {"task": task, "schedule": schedule, "kwargs": kwargs, "options": {"queue": SCHEDULED_QUEUE}}

    lookback = settings.timeliness_check_lookback_minutes
    entries = {
        "freshness": every(settings.freshness_check_schedule, "freshness_check_task"),
        "timeliness": every(settings.timeliness_check_schedule, "timeliness_check_task", lookback_minutes=lookback),
        "schedules": every(settings.schedule_check_schedule, "schedule_check_task"),
        "queue health": every(settings.celery_queue_health_check_schedule, "celery_queue_health_check_task"),
        "undelivered alerts": every(_REDELIVERY_SCHEDULE, "redeliver_alerts_task"),
        "daily metrics": every(_DAILY_METRICS_SCHEDULE, "daily_metrics_task"),
    }
    if settings.retention_days is not None:
        days = settings.retention_days
        entries["retention"] = every(settings.retention_schedule, "retention_task", retention_days=days)
    return entries


def visibility_timeout_seconds(settings: Settings) -> int:
    """After how long the broker gives what a worker holds to another.

    Longer than the longest back-off and the hard time limit together: what a living worker holds stays its own.
    """
    doublings = max(0, settings.task_max_retries - 1)
    delay = max(settings.task_retry_delay_seconds, settings.closure_retry_delay_seconds)
    backoff = int(min(settings.task_retry_delay_cap_seconds, delay * 2.0 ** min(doublings, 60)))
    return backoff + settings.task_time_limit_seconds + _VISIBILITY_MARGIN_SECONDS


def broker_configuration(settings: Settings) -> dict[str, Any]:
    """How to reach the broker and what the queues are; all that the relay needs."""
    return {
        "broker_url": settings.broker,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_transport_options": {
            "visibility_timeout": visibility_timeout_seconds(settings),
            "socket_connect_timeout": 5,
            "socket_timeout": 30,
            "socket_keepalive": True,
        },
        "task_default_queue": MAIN_QUEUE,
        "task_queues": [Queue(MAIN_QUEUE), Queue(SCHEDULED_QUEUE)],
        "task_serializer": "json",
        "accept_content": ["json"],
        "enable_utc": True,
        "timezone": "UTC",
    }


def celery_configuration(settings: Settings) -> dict[str, Any]:
    """The whole configuration of workers and beat."""
    return broker_configuration(settings) | {
        "result_backend": "watcher_server.task_history.backend:TaskBackend",
        "result_extended": True,
        # A task is acknowledged when it is done: a worker that dies gives it back.
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "task_time_limit": settings.task_time_limit_seconds,
        "task_soft_time_limit": settings.task_time_limit_seconds - 5,
        "worker_concurrency": settings.worker_processes,
        "worker_autoscaler": "watcher_server.workers.autoscaler:QueueDepthAutoscaler",
        "worker_send_task_events": True,
        "beat_schedule": _beat_schedule(settings),
        "beat_scheduler": "watcher_server.queueing.scheduler:OutboxScheduler",
    }
