"""The Celery application: what workers and beat run, configured from the settings."""

from celery import Celery

from watcher_server.incidents.duties import keeper_duties
from watcher_server.incidents.task_failures import open_for_failed_task
from watcher_server.openlineage.duties import keeper_duties as openlineage_duties
from watcher_server.settings import get_settings
from watcher_server.tasking.history.backend import TaskBackend
from watcher_server.tasking.sending.configuration import celery_configuration
from watcher_server.tasking.workers import lifecycle
from watcher_server.telemetry import celery_hooks

app = Celery("watcher", include=["watcher_server.celery_tasks"])
app.conf.update(celery_configuration(get_settings()))
TaskBackend.failure_hooks.append(open_for_failed_task)
lifecycle.install(app, lambda settings: [*keeper_duties(settings), *openlineage_duties(settings)])
celery_hooks.install()
