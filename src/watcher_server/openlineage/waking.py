"""Having what waits applied."""

from sqlalchemy import Connection, text

from watcher_server.openlineage.tasks import APPLY_TASK
from watcher_server.tasking.sending.outbox import enqueue
from watcher_server.tasking.wire import SCHEDULED_QUEUE

# By the primary key of the outbox, and by ix_task_under_way.
_IS_QUEUED = """
SELECT EXISTS (SELECT FROM outbox WHERE task_name = :task)
    OR EXISTS (SELECT FROM task WHERE name = :task AND state = 'PENDING')
"""


def wake(connection: Connection) -> bool:
    """Queue the task that applies what waits, unless one is queued that has not begun; whether it was needed.

    One that runs may have looked for the last time already, so it does not count.
    """
    if connection.scalar(text(_IS_QUEUED), {"task": APPLY_TASK}):
        return False
    enqueue(connection, APPLY_TASK, SCHEDULED_QUEUE)
    return True


def wake_if_any_waits(connection: Connection) -> bool:
    """As :func:`wake`, where at least one event waits."""
    # By ix_openlineage_event_waiting of each day.
    waits = connection.scalar(text("SELECT EXISTS (SELECT FROM openlineage_event WHERE applied_at IS NULL)"))
    return bool(waits) and wake(connection)
