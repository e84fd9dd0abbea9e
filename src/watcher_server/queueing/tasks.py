"""The scheduled look at the queues."""

from watcher_server.database.engine import sync_engine
from watcher_server.kit.errors import UnavailableError
from watcher_server.queueing import monitor
from watcher_server.queueing.task import TRANSIENT_ERRORS, watcher_task
from watcher_server.settings import get_settings


@watcher_task("celery_queue_health_check_task", autoretry_for=(*TRANSIENT_ERRORS, UnavailableError))
def celery_queue_health_check_task() -> dict[str, int]:
    """Alert every queue whose level changed."""
    settings = get_settings()
    depths = monitor.read_queue_depths(settings.broker)
    with sync_engine().begin() as connection:
        changes = monitor.find_level_changes(connection, depths, settings)
    alerts = 0
    if changes:
        workers = monitor.count_active_workers(settings)
        with sync_engine().begin() as connection:
            alerts = monitor.raise_queue_alerts(connection, changes, workers)
    return {"pending": depths.total, "alerts": alerts}
