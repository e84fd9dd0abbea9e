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
from watcher_server.tasking.sending.outbox import enqueue_call
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

# What is held back about no other incident is said by the new message; what is about others too is said before it. By
# ix_notification_waiting and ix_alert_subject_alert_id.
_SUPERSEDE = """
WITH fresh AS (
    SELECT id, channel, ARRAY(
        SELECT incident_id FROM alert_subject WHERE alert_id = :alert_id AND incident_id IS NOT NULL
    ) AS incidents
    FROM notification WHERE alert_id = :alert_id AND state = 'waiting' AND reason IS NULL
), held AS (
    SELECT notification.id, fresh.id AS said_in, about.incidents <@ fresh.incidents AS is_said
    FROM fresh JOIN notification USING (channel)
    CROSS JOIN LATERAL (
        SELECT ARRAY(
            SELECT incident_id FROM alert_subject AS subject
            WHERE subject.alert_id = notification.alert_id AND incident_id IS NOT NULL
        )
    ) AS about (incidents)
    WHERE notification.id < fresh.id AND notification.state = 'waiting' AND notification.reason IS NOT NULL
        AND about.incidents && fresh.incidents
)
UPDATE notification SET state = CASE WHEN is_said THEN 'merged' ELSE 'waiting' END, reason = NULL,
    sent_in = CASE WHEN is_said THEN said_in END, next_try_at = now(), created_at = now()
FROM held WHERE notification.id = held.id
"""


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
    occasion = Occasion(alert.level.value, alert.kind, alert.change)
    deliveries = alert.deliveries or decide(connection, occasion, alert.subjects)
    parameters = {
        "alert_id": alert_id,
        "wait_seconds": alert.wait_seconds,
        **{
            f"{name}s": [getattr(each, name) for each in deliveries]
            for name in ("channel", "not_before", "reason", "route", "skip")
        },
        "incidents": [subject.incident_id for subject in alert.subjects],
        "pipelines": [subject.pipeline_id for subject in alert.subjects],
        "executions": [subject.execution_id for subject in alert.subjects],
        "tasks": [subject.task_id for subject in alert.subjects],
    }
    connection.execute(text(_NOTIFY), parameters)
    # Nothing older is told after an alert that is told at once: not twice, and not in the wrong order.
    if any(each.route for each in deliveries):
        connection.execute(text(_SUPERSEDE), {"alert_id": alert_id})
    # The keeper sends what waits for longer, a few seconds later.
    if any(not each.skip and each.not_before is None for each in deliveries):
        due_at = func.now() + timedelta(seconds=alert.wait_seconds) if alert.wait_seconds else None
        kwargs = {"alert_id": alert_id}
        enqueue_call(connection, "deliver_alert_task", kwargs, task_id=uuid4(), queue=ALERTS_QUEUE, due_at=due_at)
    return alert_id


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
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def minute_text(moment: datetime) -> str:
    """As :func:`moment_text`, without seconds."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _one_line(text: str) -> str:
    # A pipeline's name may hold line breaks: without this it could forge lines of the alert.
    return " ".join(text.splitlines())
