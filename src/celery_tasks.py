"""The documented place of the tasks: ``from src.celery_tasks import detect_anomalies_task``."""

from src.celery_app import app
from watcher_server.celery_tasks import *  # noqa: F403 - every task, under its documented name
from watcher_server.celery_tasks import __all__ as _task_names

__all__ = ["app", *_task_names]  # noqa: PLE0604 - the names are strings
