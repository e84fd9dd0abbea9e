"""Whether the scheduled checks run: how long each has been overdue."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection, text

from watcher_server.queueing.configuration import celery_configuration
from watcher_server.settings import Settings

# For each name one entry of ix_task_name_created_at, read backwards past those that did not succeed. Ordered by both of
# its columns: by the moment alone, PostgreSQL would rather read the tasks of all names backwards.
_FIND_LAST = """
SELECT scheduled.name, last.created_at
FROM unnest(cast(:names AS text[])) AS scheduled (name), LATERAL (
    SELECT task.created_at FROM task
    WHERE (task.name, task.created_at) <= (scheduled.name, 'infinity') AND task.name >= scheduled.name
        AND task.state = 'SUCCESS'
    ORDER BY task.name DESC, task.created_at DESC LIMIT 1
) AS last
"""


def measure_overdue_checks(
    connection: Connection, settings: Settings, working_since: datetime | None
) -> Mapping[str, float]:
    """How many seconds ago each scheduled task should have been sent again and, as far as is known, was not.

    0 for one that is not due. One that never succeeded is measured from when the first of the living workers started,
    ``working_since`` (UTC), and left out when none lives.
    """
    schedules = {entry["task"]: entry["schedule"] for entry in celery_configuration(settings)["beat_schedule"].values()}
    rows = connection.execute(text(_FIND_LAST), {"names": list(schedules)})
    last_sent = {row.name: row.created_at for row in rows}
    overdue = {}
    for task, schedule in schedules.items():
        since = last_sent.get(task, working_since)
        if since is not None:
            overdue[task] = max(0.0, -schedule.remaining_estimate(since).total_seconds())
    return overdue
