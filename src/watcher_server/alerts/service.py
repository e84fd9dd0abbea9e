"""Raising alerts, and how they read."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import Connection, func, text
from sqlalchemy.dialects.postgresql import insert

from watcher_server.alerts.levels import Level
from watcher_server.alerts.models import Alert
from watcher_server.alerts.routing.deciding import Delivery, Occasion, decide
from watcher_server.alerts.routing.superseding import supersede
from watcher_server.tasking.sending.outbox import enqueue, enqueue_call
from watcher_server.tasking.wire import ALERTS_QUEUE

# Slack cuts a text at 40,000 characters; a text this long is still read.
_LONGEST_TEXT = 3_500


SYMBOLS = {"INFO": "ℹ️", "WARNING": "⚠️", "ERROR": "❌", "CRITICAL": "🚨", "RESOLVED": "✅"}  # noqa: RUF001 - the symbol of the contract


@dataclass(frozen=True)
class Subject:
    """Something that an alert is about."""

    incident_id: int | None = None
    pipeline_id: int | None = None
    execution_id: int | None = None
    task_id: UUID | None = None


@dataclass(frozen=True)
class NewAlert:
    """An alert to raise. ``dedupe_key`` names its cause: one cause is alerted once, however often it is found.

    ``kind`` is that of the incidents among its ``subjects``, ``change`` what happened to them. It is sent after
    ``wait_seconds`` at the earliest, to where the routes send it unless ``deliveries`` says where.
    """

    dedupe_key: str
    level: Level
    title: str
    message: str
    details: Sequence[tuple[str, str]] = ()
    kind: str | None = None
    change: str | None = None
    subjects: Sequence[Subject] = ()
    wait_seconds: float = 0
    deliveries: Sequence[Delivery] = ()


_NOTIFY = """
WITH subject AS (
    INSERT INTO alert_subject (alert_id, incident_id, pipeline_id, execution_id, task_id)
    SELECT :alert_id, incident_id, pipeline_id, execution_id, task_id
    FROM unnest(
        CAST(:incidents AS bigint[]), CAST(:pipelines AS bigint[]), CAST(:executions AS bigint[]),
        CAST(:tasks AS uuid[])
    ) AS about (incident_id, pipeline_id, execution_id, task_id)
)
INSERT INTO notification (alert_id, channel, next_try_at, reason, route, state)
SELECT :alert_id, channel, greatest(not_before, now() + make_interval(secs => :wait_seconds)), reason, route,
    CASE WHEN skip THEN 'skipped' ELSE 'waiting' END
FROM unnest(
    CAST(:channels AS text[]), CAST(:not_befores AS timestamptz[]), CAST(:reasons AS text[]), CAST(:routes AS text[]),
    CAST(:skips AS boolean[])
) AS told (channel, not_before, reason, route, skip)
"""


_COLUMNS = ("channel", "not_before", "reason", "route", "skip")


def raise_alert(connection: Connection, alert: NewAlert) -> int | None:
    """Store the alert and have it delivered once this transaction commits; its id, None when it was raised before."""
    statement = (
        insert(Alert)
        .values(
            dedupe_key=alert.dedupe_key,
            level=alert.level.value,
            title=alert.title,
            message=alert.message,
            details=[list(pair) for pair in alert.details],
            kind=alert.kind,
            change=alert.change,
        )
        .on_conflict_do_nothing(index_elements=[Alert.dedupe_key])
        .returning(Alert.id)
    )
    alert_id: int | None = connection.scalar(statement)
    if alert_id is None:
        return None
    deliveries = alert.deliveries or decide(connection, _occasion(alert), alert.subjects)
    parameters = {
        "alert_id": alert_id,
        "wait_seconds": alert.wait_seconds,
        **{f"{name}s": [getattr(each, name) for each in deliveries] for name in _COLUMNS},
        "incidents": [subject.incident_id for subject in alert.subjects],
        "pipelines": [subject.pipeline_id for subject in alert.subjects],
        "executions": [subject.execution_id for subject in alert.subjects],
        "tasks": [subject.task_id for subject in alert.subjects],
    }
    connection.execute(text(_NOTIFY), parameters)
    if any(each.route for each in deliveries):
        supersede(connection, alert_id)
    _enqueue_delivery(connection, alert_id, alert.wait_seconds, deliveries)
    return alert_id


def _occasion(alert: NewAlert) -> Occasion:
    return Occasion(alert.level.value, alert.kind, alert.change)


def _enqueue_delivery(
    connection: Connection, alert_id: int, wait_seconds: float, deliveries: Sequence[Delivery]
) -> None:
    """Have a worker send it as soon as it may be sent. The keeper sends what waits for longer, a few seconds later."""
    if all(each.skip or each.not_before is not None for each in deliveries):
        return
    if not wait_seconds:
        enqueue(connection, "deliver_alert_task", ALERTS_QUEUE, alert_id=alert_id)
        return
    enqueue_call(
        connection,
        "deliver_alert_task",
        {"alert_id": alert_id},
        task_id=uuid4(),
        queue=ALERTS_QUEUE,
        due_at=func.now() + timedelta(seconds=wait_seconds),
    )


def alert_text(*, level: str, title: str, message: str, details: Sequence[Sequence[str]], created_at: datetime) -> str:
    """The alert as people read it: level, title, timestamp in UTC, message, details."""
    lines = [
        f"{SYMBOLS[level]} {level}",
        title,
        f"Timestamp: {moment_text(created_at)}",
        f"Message: {_one_line(message)}",
    ]
    if details:
        lines += ["", "Details:", *(f"• {_one_line(label)}: {_one_line(value)}" for label, value in details)]
    whole = "\n".join(lines)
    return whole if len(whole) <= _LONGEST_TEXT else whole[: _LONGEST_TEXT - 1] + "…"


def moment_text(moment: datetime) -> str:
    """A moment as alerts say it, in UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _one_line(text: str) -> str:
    # A pipeline's name may hold line breaks: without this it could forge lines of the alert.
    return " ".join(text.splitlines())
