"""The look at the queues as a task, for whoever wants one between the scheduled ones."""

from watcher_server.database.engine import sync_engine
from watcher_server.queue_monitor.alerts import check_queues
from watcher_server.queueing.task import watcher_task
from watcher_server.settings import get_settings


@watcher_task("celery_queue_health_check_task")
def celery_queue_health_check_task() -> dict[str, int]:
    """Alert every queue whose level changed."""
    with sync_engine().begin() as connection:
        return {"alerts": check_queues(connection, get_settings())}
