"""Telling what was held back at a channel: what still holds, in one message."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Row, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from watcher_server.alerts.levels import RANKS, Level
from watcher_server.alerts.routing import reasons
from watcher_server.alerts.service import moment_text
from watcher_server.kit.durations import duration_text

# The message names this many and counts the others.
_NAMED = 20
# These tell incidents apart by themselves, so each is told to them by its own message.
_MACHINES = ("pagerduty", "alertmanager", "webhook")


@dataclass(frozen=True)
class _Member:
    """A notification that was held back, and the incidents that it is about."""

    row: Row[Any]
    incidents: Sequence[Row[Any]] = field(default=())

    @property
    def is_news(self) -> bool:
        """Whether there is still something to say: it is still wrong, or people there believe that it is."""
        return not self.incidents or any(self._fits(each) for each in self.incidents)

    @property
    def is_as_written(self) -> bool:
        """Whether it says of each of its incidents what is so now."""
        return all(self._fits(each) for each in self.incidents)

    @property
    def was_missed(self) -> bool:
        """Whether it opened and ended, and nobody was told."""
        return not self.is_news and not any(each.announced for each in self.incidents)

    def _fits(self, incident: Row[Any]) -> bool:
        is_over = incident.state == "resolved"
        return is_over and incident.announced if self.row.change == "resolved" else not is_over


# By ix_notification_waiting; those that were tried before are tried again as they are.
_DUE = """
SELECT reason, array_agg(id ORDER BY id) AS ids FROM notification
WHERE channel = :channel AND state = 'waiting' AND reason IS NOT NULL AND next_try_at <= now()
GROUP BY reason ORDER BY min(id)
"""


def tell_held(connection: Connection, channel: str) -> None:
    """Have the lane of a channel send what was held back there until now: for each reason one message.

    What opened and was over meanwhile is skipped, and only a digest names it. One alone goes out as it was written.
    """
    for due in connection.execute(text(_DUE), {"channel": channel}).all():
        members = _read_members(connection, channel, due.ids)
        # Of several about the same incidents the last one knows best.
        last = {frozenset(each.id for each in member.incidents) or member.row.id: member for member in members}
        news = [each for each in last.values() if each.is_news]
        missed = [each for each in last.values() if each.was_missed] if reasons.is_digest(due.reason) else []
        is_one = len(news) == 1 and not missed and news[0].is_as_written
        if is_one or (news and _is_machine(connection, channel, due.reason)):
            released = [member.row.id for member in news]
            connection.execute(text(_RELEASE), {"ids": released})
            _skip(connection, [member.row.id for member in members if member.row.id not in released])
        elif news or missed:
            values = {"channel": channel, "ids": due.ids, "title": reasons.title_of(due.reason)}
            connection.execute(_GATHER, values | _gathered(news, missed))
        else:
            _skip(connection, due.ids)


def _is_machine(connection: Connection, channel: str, reason: str) -> bool:
    # What is over a cap is one message for machines too: that is what the cap is for.
    statement = text("SELECT type FROM channel WHERE name = :channel")
    return reason != reasons.CAPPED and connection.scalar(statement, {"channel": channel}) in _MACHINES


_MEMBERS = """
SELECT notification.id, notification.alert_id, alert.title, alert.message, alert.level, alert.change, alert.kind,
    alert.created_at
FROM notification JOIN alert ON alert.id = notification.alert_id
WHERE notification.id = ANY(CAST(:ids AS bigint[])) ORDER BY notification.id
"""

# What was sent there of an incident, and not yet that it is over, is what people there believe.
_INCIDENTS = """
SELECT subject.alert_id, incident.id, incident.kind, incident.level, incident.state, incident.subject, incident.detail,
    incident.since, incident.resolved_at,
    coalesce(pipeline.display_name, pipeline.name) AS name, coalesce((
        SELECT alert.change IS DISTINCT FROM 'resolved'
        FROM alert_subject AS about JOIN alert ON alert.id = about.alert_id
        JOIN notification AS told ON told.alert_id = alert.id AND told.channel = :channel
        WHERE about.incident_id = incident.id AND told.state IN ('sending', 'sent', 'merged')
        ORDER BY told.id DESC LIMIT 1
    ), false) AS announced
FROM (
    SELECT DISTINCT alert_id, incident_id FROM alert_subject
    WHERE alert_id = ANY(CAST(:alert_ids AS bigint[])) AND incident_id IS NOT NULL
) AS subject
JOIN incident ON incident.id = subject.incident_id
LEFT JOIN pipeline ON pipeline.id = incident.pipeline_id
ORDER BY incident.id
"""


def _read_members(connection: Connection, channel: str, ids: Collection[int]) -> list[_Member]:
    rows = connection.execute(text(_MEMBERS), {"ids": list(ids)}).all()
    parameters = {"channel": channel, "alert_ids": [row.alert_id for row in rows]}
    of_alert: dict[int, list[Row[Any]]] = {row.alert_id: [] for row in rows}
    for incident in connection.execute(text(_INCIDENTS), parameters):
        of_alert[incident.alert_id].append(incident)
    return [_Member(row, of_alert[row.alert_id]) for row in rows]


# It sets out now: what was held back for days is not too old to be told.
_RELEASE = """
UPDATE notification SET reason = NULL, created_at = now(), next_try_at = now() WHERE id = ANY(CAST(:ids AS bigint[]))
"""

_SKIP = """
UPDATE notification SET state = 'skipped', reason = 'over, or told otherwise, before its time came: ' || reason
WHERE id = ANY(CAST(:ids AS bigint[]))
"""


def _skip(connection: Connection, ids: Sequence[int]) -> None:
    if ids:
        connection.execute(text(_SKIP), {"ids": list(ids)})


# It is about what its members are about, so that each incident's page names it and what comes later comes after it.
_GATHER = text("""
WITH gathered AS (
    INSERT INTO alert (dedupe_key, level, title, message, details, kind, change)
    VALUES (:dedupe_key, :level, :title, :message, :details, :kind, :change)
    RETURNING id
), subject AS (
    INSERT INTO alert_subject (alert_id, incident_id, pipeline_id, execution_id, task_id)
    SELECT DISTINCT gathered.id, incident_id, pipeline_id, execution_id, task_id
    FROM gathered, alert_subject WHERE alert_id = ANY(CAST(:alert_ids AS bigint[]))
), notified AS (
    INSERT INTO notification (alert_id, channel, route)
    SELECT gathered.id, :channel, (SELECT route FROM notification WHERE id = ANY(CAST(:ids AS bigint[])) LIMIT 1)
    FROM gathered
    RETURNING id
)
UPDATE notification SET state = 'merged', sent_in = notified.id, reason = NULL
FROM notified WHERE notification.id = ANY(CAST(:ids AS bigint[]))
""").bindparams(bindparam("details", type_=JSONB))


def _gathered(news: Sequence[_Member], missed: Sequence[_Member]) -> dict[str, Any]:
    """The message that tells of what is still news, and of what was over before anybody was told."""
    incidents = {each.id: each for member in (*news, *missed) for each in member.incidents}
    alone = [member.row for member in news if not member.incidents]
    live = [each for each in incidents.values() if each.state != "resolved"]
    ended = [each for each in incidents.values() if each.state == "resolved"]
    kinds = {each.kind for each in incidents.values()}
    ranked = [row.level for row in (*live, *alone) if row.level in RANKS]
    counts = {"open": len(live), "over": len(ended), "others": len(alone)}
    counted = ", ".join(f"{number:,} {what}" for what, number in counts.items() if number)
    opens = any(member.row.change == "opened" for member in news)
    return {
        "alert_ids": [member.row.alert_id for member in (*news, *missed)],
        "dedupe_key": f"gathered:{uuid4()}",
        "level": max(ranked, key=RANKS.__getitem__, default=Level.RESOLVED),
        "message": f"{sum(counts.values()):,} alerts in one: {counted}",
        "details": _details(live, ended, alone),
        "kind": kinds.pop() if len(kinds) == 1 and not alone else None,
        "change": "resolved" if not live else "opened" if opens else "reminder",
    }


def _details(live: Sequence[Row[Any]], ended: Sequence[Row[Any]], alone: Sequence[Row[Any]]) -> list[tuple[str, str]]:
    worst_first = sorted(live, key=lambda each: (-RANKS.get(each.level, -1), each.id))
    lines = []
    for each in worst_first:
        since = f"{each.level} {each.kind} since {moment_text(each.since)}"
        lines.append((_label(each), f"{since}, {each.detail}" if each.detail else since))
    lines += [(row.title, row.message.partition("\n")[0]) for row in alone]
    for each in ended:
        lasted = duration_text((each.resolved_at - each.since).total_seconds())
        lines.append((_label(each), f"over: {each.kind} for {lasted}, since {moment_text(each.since)}"))
    others = len(lines) - _NAMED
    return [*lines[:_NAMED], ("Others", f"and {others:,} more")] if others > 0 else lines


def _label(incident: Row[Any]) -> str:
    return f"{incident.name or incident.subject} (#{incident.id})"
