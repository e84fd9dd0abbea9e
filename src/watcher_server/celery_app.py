"""The Celery application: what workers and beat run, configured from the settings."""

from celery import Celery

from watcher_server.queueing.configuration import celery_configuration
from watcher_server.settings import get_settings
from watcher_server.telemetry import celery_hooks
from watcher_server.workers import lifecycle

app = Celery("watcher", include=["watcher_server.celery_tasks"])
app.conf.update(celery_configuration(get_settings()))
lifecycle.install(app)
celery_hooks.install()
