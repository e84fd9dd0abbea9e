"""Whether the scheduled checks run: how long each has been overdue."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection

from watcher_server.settings import Settings
from watcher_server.tasking.history.service import find_last_succeeded
from watcher_server.tasking.sending.configuration import beat_schedule


def measure_overdue_checks(
    connection: Connection, settings: Settings, working_since: datetime | None
) -> Mapping[str, float]:
    """How many seconds ago each scheduled task should have been sent again and, as far as is known, was not.

    0 for one that is not due. One that never succeeded is measured from when the first of the living workers started,
    ``working_since`` (UTC), and left out when none lives.
    """
    schedules = {entry["task"]: entry["schedule"] for entry in beat_schedule(settings).values()}
    last_sent = find_last_succeeded(connection, schedules)
    return {
        task: max(0.0, -schedule.remaining_estimate(since).total_seconds())
        for task, schedule in schedules.items()
        if (since := last_sent.get(task, working_since)) is not None
    }
