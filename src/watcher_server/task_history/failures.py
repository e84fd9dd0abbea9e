"""Telling people that a task failed for good."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from watcher_server.alerts.service import Level, NewAlert, raise_alert

# An alert that cannot be delivered is tried again every quarter of an hour, and would be told of the same way.
_QUIET = frozenset({"deliver_alert_task"})


def alert_failure(connection: Connection, name: str, task_id: str, meta: Mapping[str, Any]) -> None:
    """Alert the first failure of a task in each hour: what breaks one breaks many, and one message says it."""
    if name in _QUIET:
        return
    hour = datetime.now(UTC).strftime("%Y-%m-%dT%H")
    raise_alert(
        connection,
        NewAlert(
            dedupe_key=f"task-failure:{name}:{hour}",
            level=Level.ERROR,
            title="Celery Task Failure",
            message=f"Task {name} failed for good: {meta.get('exc_type')}: {meta.get('exc_message')}",
            details=(
                ("Task", name),
                ("Task ID", task_id),
                ("Retries", f"{meta.get('retry_count')} of {meta.get('max_retries')}"),
                ("Others", f"watcher tasks list --state FAILURE --name {name}"),
                ("Run it again", f"watcher tasks retry {task_id}"),
            ),
        ),
    )
