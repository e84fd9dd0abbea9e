"""Having what waits applied."""

from sqlalchemy import Connection, text

from watcher_server.openlineage.tasks import APPLY_TASK
from watcher_server.tasking.sending.outbox import enqueue
from watcher_server.tasking.wire import SCHEDULED_QUEUE

# By ix_openlineage_event_waiting of each day.
ANY_WAITS = "SELECT EXISTS (SELECT FROM openlineage_event WHERE applied_at IS NULL)"


def wake(connection: Connection) -> bool:
    """Queue the task that applies what waits, unless one is queued that has not begun; whether it was needed.

    One that runs may have looked for the last time already, so it does not count.
    """
    # By the primary key of the outbox, and by ix_task_under_way.
    is_queued = """
        SELECT EXISTS (SELECT FROM outbox WHERE task_name = :task)
            OR EXISTS (SELECT FROM task WHERE name = :task AND state = 'PENDING')
    """
    if connection.scalar(text(is_queued), {"task": APPLY_TASK}):
        return False
    enqueue(connection, APPLY_TASK, SCHEDULED_QUEUE)
    return True
