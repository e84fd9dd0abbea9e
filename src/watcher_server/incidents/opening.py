"""Opening incidents: of each kind and subject one, however often it is found."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from watcher_server.alerts.levels import Level
from watcher_server.database.locks import INCIDENTS_LOCK
from watcher_server.incidents.kinds import RANKS, TEXTS, Kind, level_for
from watcher_server.incidents.tally import tally_opened


@dataclass(frozen=True)
class Finding:
    """What a check found wrong with a pipeline, or without one with a ``subject``.

    ``since`` is when it began (UTC), ``detail`` says it in one line, ``count`` is how many runs in a row show it; with
    ``counts_up`` it adds to the count of the incident that is open. ``is_new`` says that it is another occurrence than
    the one found before, for example because data was written between: an open incident is worse by it. ``over`` says
    that it is over already. Without a ``level`` the kind's own holds, moved by the pipeline's criticality.
    """

    since: datetime
    detail: str
    pipeline_id: int | None = None
    subject: str = ""
    count: int = 1
    execution_id: int | None = None
    task_id: UUID | None = None
    level: Level | None = None
    counts_up: bool = False
    is_new: bool = False
    over: bool = False


class Change(StrEnum):
    """What a finding did to an incident.

    ``reopened``: it was over for a moment. ``worse``: it was open, and its level rose or another occurrence joined.
    ``counted`` is not worth a message, and ``silenced`` was resolved by hand while it held.
    """

    OPENED = "opened"
    REOPENED = "reopened"
    WORSE = "worse"
    COUNTED = "counted"
    SILENCED = "silenced"


@dataclass(frozen=True)
class Opening:
    """A finding, the incident that it opened or belongs to, and what that did.

    ``announced`` says that people were told that it is wrong, and not yet that it was over.
    """

    finding: Finding
    change: Change
    incident_id: int
    level: Level
    announced: bool = False


def lock_incidents(connection: Connection) -> None:
    """Have this transaction be the only one that opens, explains or resolves incidents, until its end.

    Two incidents that open at once would otherwise not see each other, and neither could be the cause of the other.
    """
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": INCIDENTS_LOCK})


def open_incidents(connection: Connection, kind: Kind, findings: Sequence[Finding]) -> list[Opening]:
    """Open an incident for each finding, or continue, reopen or worsen the one that there is. One finding per subject.

    An incident that was over for less than 30 minutes opens again in place of a new one.
    """
    if not findings:
        return []
    lock_incidents(connection)
    parameters = {
        "kind": kind,
        "pipeline_ids": [finding.pipeline_id for finding in findings],
        "subjects": [finding.subject for finding in findings],
    }
    latest = connection.execute(text(_LATEST), parameters)
    decided = [_decide(kind, finding, row) for finding, row in zip(findings, latest, strict=True)]
    opened = iter(_insert(connection, kind, [opening for opening in decided if not opening.incident_id]))
    openings = [opening if opening.incident_id else next(opened) for opening in decided]
    changed = [opening for opening in openings if opening.change not in {Change.OPENED, Change.SILENCED}]
    if changed:
        changes = {"ids": [each.incident_id for each in changed], "changes": [each.change for each in changed]}
        connection.execute(text(_UPDATE), {**changes, **_columns(changed)})
    return openings


# Each half by ix_incident_pipeline_id; the second is for what is no pipeline's.
_LATEST = """
SELECT latest.id, latest.state, latest.level, latest.quiet, latest.number, latest.announced, latest.reopens,
    latest.resolved_at, pipeline.criticality
FROM unnest(CAST(:pipeline_ids AS bigint[]), CAST(:subjects AS text[]))
    WITH ORDINALITY AS found (pipeline_id, subject, place)
LEFT JOIN pipeline_effective AS pipeline ON pipeline.id = found.pipeline_id
LEFT JOIN LATERAL (
    SELECT id, state, level, quiet, resolved_at, count AS number, told_at IS NOT NULL AS announced,
        resolution IS DISTINCT FROM 'hand' AND resolved_at > now() - interval '30 minutes' AS reopens
    FROM (
        (SELECT * FROM incident AS own
        WHERE own.pipeline_id = found.pipeline_id AND own.kind = :kind AND own.subject = found.subject
        ORDER BY own.id DESC LIMIT 1)
        UNION ALL
        (SELECT * FROM incident AS own
        WHERE found.pipeline_id IS NULL
            AND own.pipeline_id IS NULL AND own.kind = :kind AND own.subject = found.subject
        ORDER BY own.id DESC LIMIT 1)
    ) AS newest
) AS latest ON true
ORDER BY found.place
"""


def _decide(kind: Kind, finding: Finding, latest: Row[Any]) -> Opening:
    level = finding.level or level_for(TEXTS[kind].level, latest.criticality)
    is_worse = latest.level is not None and RANKS[level] > RANKS[latest.level]
    if latest.id is None:
        return Opening(finding, Change.OPENED, 0, level)
    if latest.state != "resolved":
        if finding.counts_up:
            finding = replace(finding, count=latest.number + finding.count)
        change = Change.WORSE if is_worse or finding.is_new else Change.COUNTED
        return Opening(finding, change, latest.id, level, latest.announced)
    # The runs that fail now began to after a success, which the sweep has not seen yet.
    was_over = kind is Kind.FAILING and latest.quiet and finding.since > latest.resolved_at
    if latest.quiet and not is_worse and not was_over:
        return Opening(finding, Change.SILENCED, latest.id, level)
    if latest.reopens and not finding.over:
        return Opening(finding, Change.REOPENED, latest.id, level, latest.announced)
    return Opening(finding, Change.OPENED, 0, level)


# What was found only after it was over is opened and resolved at once.
_INSERT = """
WITH opened AS (
    INSERT INTO incident
        (kind, pipeline_id, subject, level, detail, count, execution_id, task_id, since, state, resolved_at, resolution)
    SELECT :kind, pipeline_id, subject, level, detail, count, execution_id, task_id, since,
        CASE WHEN over THEN 'resolved' ELSE 'open' END, CASE WHEN over THEN now() END, CASE WHEN over THEN 'auto' END
    FROM unnest(
        CAST(:pipeline_ids AS bigint[]), CAST(:subjects AS text[]), CAST(:levels AS text[]), CAST(:details AS text[]),
        CAST(:counts AS integer[]), CAST(:executions AS bigint[]), CAST(:tasks AS uuid[]),
        CAST(:sinces AS timestamptz[]), CAST(:overs AS boolean[])
    ) WITH ORDINALITY
        AS found (pipeline_id, subject, level, detail, count, execution_id, task_id, since, over, place)
    ORDER BY place
    RETURNING id, state, detail
), event AS (
    INSERT INTO incident_event (incident_id, change, actor, text)
    SELECT id, change, 'watcher', CASE change WHEN 'opened' THEN detail ELSE 'It was over when it was found.' END
    FROM opened CROSS JOIN (VALUES ('opened', 1), ('resolved', 2)) AS happened (change, turn)
    WHERE change = 'opened' OR state = 'resolved'
    ORDER BY id, turn
)
SELECT id FROM opened ORDER BY id
"""


def _insert(connection: Connection, kind: Kind, openings: Sequence[Opening]) -> list[Opening]:
    if not openings:
        return []
    ids = connection.scalars(text(_INSERT), {"kind": kind, **_columns(openings)}).all()
    tally_opened(connection, ids)
    return [replace(opening, incident_id=id_) for opening, id_ in zip(openings, ids, strict=True)]


# An acknowledgement and a snooze end when it gets worse or opens again; only a snooze until a moment outlasts a
# reopening. What is only counted leaves the version alone: an acknowledgement that was made meanwhile still fits.
_UPDATE = """
WITH found AS (
    SELECT * FROM unnest(
        CAST(:ids AS bigint[]), CAST(:changes AS text[]), CAST(:levels AS text[]), CAST(:details AS text[]),
        CAST(:counts AS integer[]), CAST(:executions AS bigint[]), CAST(:tasks AS uuid[]),
        CAST(:sinces AS timestamptz[])
    ) AS found (id, change, level, detail, count, execution_id, task_id, since)
), changed AS (
    UPDATE incident SET
        level = found.level, detail = found.detail, count = found.count, execution_id = found.execution_id,
        task_id = found.task_id, changed_at = now(), tell_resolved_at = NULL,
        version = version + CASE change WHEN 'counted' THEN 0 ELSE 1 END,
        since = CASE change WHEN 'reopened' THEN found.since ELSE incident.since END,
        state = CASE change WHEN 'counted' THEN state ELSE 'open' END,
        resolved_at = NULL, resolution = NULL, quiet = false,
        acknowledged_by = CASE change WHEN 'counted' THEN acknowledged_by END,
        acknowledged_at = CASE change WHEN 'counted' THEN acknowledged_at END,
        acknowledged_until = CASE change WHEN 'counted' THEN acknowledged_until END,
        snooze = CASE WHEN change = 'counted' OR change = 'reopened' AND snooze = 'time' THEN snooze END,
        snoozed_until = CASE WHEN change = 'counted' OR change = 'reopened' AND snooze = 'time' THEN snoozed_until END
    FROM found
    WHERE incident.id = found.id AND (found.change <> 'counted'
        OR (incident.level, incident.detail, incident.count, incident.execution_id, incident.task_id)
            IS DISTINCT FROM (found.level, found.detail, found.count, found.execution_id, found.task_id))
    RETURNING incident.id, found.change, found.detail
)
INSERT INTO incident_event (incident_id, change, actor, text)
SELECT id, change, 'watcher', detail FROM changed WHERE change <> 'counted'
"""


def _columns(openings: Sequence[Opening]) -> dict[str, list[Any]]:
    findings = [opening.finding for opening in openings]
    return {
        "pipeline_ids": [finding.pipeline_id for finding in findings],
        "subjects": [finding.subject for finding in findings],
        "levels": [opening.level.value for opening in openings],
        "details": [finding.detail for finding in findings],
        "counts": [finding.count for finding in findings],
        "executions": [finding.execution_id for finding in findings],
        "tasks": [finding.task_id for finding in findings],
        "sinces": [finding.since for finding in findings],
        "overs": [finding.over for finding in findings],
    }
