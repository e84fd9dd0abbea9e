"""Tasks of Watcher that failed for good."""

from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import Connection

from watcher_server.alerts.service import NewAlert, Subject, raise_alert
from watcher_server.incidents.kinds import TEXTS, Kind
from watcher_server.incidents.opening import Finding, Opening, open_incidents
from watcher_server.incidents.telling import choose_speakers, mark_told
from watcher_server.tasking.history.backend import FailedTask

# An alert that cannot be delivered is tried again by itself, and a broken channel is an incident of its own.
_UNTOLD = "deliver_alert_task"


def open_for_failed_task(connection: Connection, failed: FailedTask) -> None:
    """Open the incident of a task's name and tell people; while it is open, further failures are only counted.

    One cause fails many tasks, and one message says it.
    """
    if failed.name == _UNTOLD:
        return
    error = f"{failed.meta.get('exc_type')}: {failed.meta.get('exc_message')}"
    finding = Finding(
        since=datetime.now(UTC), detail=error, subject=failed.name[:200], task_id=_uuid(failed.task_id), counts_up=True
    )
    for opening in choose_speakers(connection, open_incidents(connection, Kind.TASK, [finding])):
        _tell(connection, opening, failed, error)


def _tell(connection: Connection, opening: Opening, failed: FailedTask, error: str) -> None:
    name = failed.name
    alert = NewAlert(
        dedupe_key=f"task-failure:{name[:120]}:{failed.task_id}",
        level=opening.level,
        title=TEXTS[Kind.TASK].title,
        message=f"Task {name} failed for good: {error}",
        details=(
            ("Task", name),
            ("Task ID", failed.task_id),
            ("Retries", f"{failed.meta.get('retry_count')} of {failed.meta.get('max_retries')}"),
            ("Others", f"watcher tasks list --state FAILURE --name {name}"),
            ("Run it again", f"watcher tasks retry {failed.task_id}"),
        ),
        kind=Kind.TASK,
        change=opening.change,
        subjects=[Subject(incident_id=opening.incident_id, task_id=opening.finding.task_id)],
    )
    if raise_alert(connection, alert) is not None:
        mark_told(connection, [opening.incident_id], opening.change)


def _uuid(task_id: str) -> UUID | None:
    try:
        return UUID(task_id)
    except ValueError:
        return None
