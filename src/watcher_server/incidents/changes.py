"""What people do with incidents: acknowledge, assign, snooze, resolve and comment.

Each change is made by somebody who saw a version of the incident, and holds only while it has that version.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, text

from watcher_server.audit.service import Change, record
from watcher_server.incidents.detail import not_found
from watcher_server.incidents.opening import lock_incidents
from watcher_server.incidents.reading import ListedIncident, read_incidents
from watcher_server.incidents.resolving import find_holding, resolve
from watcher_server.incidents.schemas import (
    EventResponse,
    IncidentChanges,
    IncidentPatch,
    IncidentVersion,
    Snooze,
    State,
)
from watcher_server.incidents.tally import tally_took
from watcher_server.kit.errors import ConflictError, DomainError, InvalidFieldError


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of the change of one incident: the incident as it is now, or why it was refused."""

    id: int
    incident: ListedIncident | None = None
    error: DomainError | None = None


@dataclass(frozen=True, slots=True)
class _Plan:
    """How an incident is to be, what its timeline says of that, and whether it is resolved, and quiet then."""

    incident: ListedIncident
    happened: Sequence[tuple[str, str | None]] = ()
    resolves: bool = False
    holds: bool = False


def change_incident(connection: Connection, incident_id: int, body: IncidentPatch, actor: str) -> ListedIncident:
    """Change one incident; as it is then. What is so already changes nothing, and the version stays.

    Raises:
        NotFoundError: there is no such incident.
        ConflictError: it has another version by now, is resolved, or still holds and ``force`` is not said.
        InvalidFieldError: the change does not go with this incident.
    """
    (outcome,) = change_incidents(connection, [IncidentVersion(id=incident_id, version=body.version)], body, actor)
    if outcome.incident is None:
        raise outcome.error or not_found(incident_id)
    return outcome.incident


def change_incidents(
    connection: Connection, seen: Sequence[IncidentVersion], changes: IncidentChanges, actor: str
) -> list[Outcome]:
    """Make the same changes to many incidents; what came of each, in their order. One is refused without the others."""
    lock_incidents(connection)
    ids = [each.id for each in seen]
    found = {incident.id: incident for incident in read_incidents(connection, ids)}
    resolves = "state" in changes.model_fields_set and changes.state is State.RESOLVED
    holding = find_holding(connection, ids) if resolves else set()
    plans: list[_Plan] = []
    errors: dict[int, DomainError] = {}
    for each in seen:
        try:
            plans.append(_plan(each, found.get(each.id), changes, actor, holds=each.id in holding))
        except DomainError as error:
            errors[each.id] = error
    _write(connection, [plan for plan in plans if plan.happened], actor)
    for holds in (False, True):
        over = [plan.incident.id for plan in plans if plan.resolves and plan.holds is holds]
        resolve(connection, over, "hand", actor=actor, why="It still held." if holds else None, quiet=holds)
    now = {incident.id: incident for incident in read_incidents(connection, [plan.incident.id for plan in plans])}
    told = [_told(plan, found[plan.incident.id], now[plan.incident.id]) for plan in plans if plan.incident.id in now]
    record(connection, *told)
    return [Outcome(id_, now.get(id_), errors.get(id_)) for id_ in ids]


def comment_on(connection: Connection, incident_id: int, said: str, actor: str) -> EventResponse:
    """Add what somebody says of an incident to its timeline; it changes nothing of the incident, nor its version.

    Raises:
        NotFoundError: there is no such incident.
    """
    statement = """
        INSERT INTO incident_event (incident_id, change, actor, text)
        SELECT id, 'commented', :actor, :said FROM incident WHERE id = :id
        RETURNING id, at, change, actor, text
    """
    row = connection.execute(text(statement), {"id": incident_id, "said": said, "actor": actor}).one_or_none()
    if row is None:
        raise not_found(incident_id)
    for incident in read_incidents(connection, [incident_id]):
        record(connection, Change("comment", "incident", incident_id, _name(incident), after={"text": said}))
    return EventResponse.model_validate(row)


# What the audit trail calls what the timeline says has happened.
_ACTIONS = {
    "acknowledged": "acknowledge",
    "unacknowledged": "unacknowledge",
    "assigned": "assign",
    "snoozed": "snooze",
    "unsnoozed": "unsnooze",
}
_TOLD = ("state", "assignee", "acknowledged_by", "acknowledged_until", "snooze", "snoozed_until")


def _told(plan: _Plan, before: ListedIncident, after: ListedIncident) -> Change:
    actions = [_ACTIONS[change] for change, _ in plan.happened] + (["resolve"] if plan.resolves else [])
    fields = [{name: getattr(incident, name) for name in _TOLD} for incident in (before, after)]
    return Change(actions[0] if len(actions) == 1 else "change", "incident", after.id, _name(after), *fields)


def _name(incident: ListedIncident) -> str:
    return f"{incident.name}: {incident.kind}"


def _plan(
    seen: IncidentVersion, incident: ListedIncident | None, changes: IncidentChanges, actor: str, *, holds: bool
) -> _Plan:
    if incident is None:
        raise not_found(seen.id)
    if incident.version != seen.version:
        raise ConflictError(
            f"{describe(incident)}, and has the version {incident.version}, not {seen.version}: look at it again."
        )
    given = changes.model_fields_set
    plan = _Plan(incident)
    if "state" in given or "acknowledged_until" in given:
        plan = _plan_state(plan, changes, actor, holds=holds)
    if "assignee" in given and changes.assignee != incident.assignee:
        plan = _then(plan, "assigned", f"To {changes.assignee or 'nobody'}", assignee=changes.assignee)
    if "snooze" in given and (changes.snooze, changes.snoozed_until) != (incident.snooze, incident.snoozed_until):
        plan = _plan_snooze(plan, changes)
    return plan


def _then(plan: _Plan, change: str, said: str | None, **fields: Any) -> _Plan:
    return replace(plan, incident=replace(plan.incident, **fields), happened=[*plan.happened, (change, said)])


def _plan_state(plan: _Plan, changes: IncidentChanges, actor: str, *, holds: bool) -> _Plan:
    incident = plan.incident
    wanted = changes.state if "state" in changes.model_fields_set else State.ACKNOWLEDGED
    if wanted is State.RESOLVED:
        return _plan_end(plan, changes, holds=holds)
    if incident.state == State.RESOLVED:
        raise ConflictError(f"{describe(incident)}: it opens again by itself when it is found again.")
    if wanted is State.OPEN:
        if incident.state == State.OPEN:
            return plan
        nobody = {"acknowledged_by": None, "acknowledged_until": None}
        return _then(plan, "unacknowledged", None, state=State.OPEN.value, **nobody)
    if incident.state == State.OPEN and "state" not in changes.model_fields_set:
        raise InvalidFieldError("acknowledged_until", f"goes with an acknowledgement: incident {incident.id} is open")
    return _plan_acknowledgement(plan, changes, actor)


def _plan_acknowledgement(plan: _Plan, changes: IncidentChanges, actor: str) -> _Plan:
    incident = plan.incident
    says_until = "acknowledged_until" in changes.model_fields_set
    until = changes.acknowledged_until if says_until else incident.acknowledged_until
    if incident.state == State.ACKNOWLEDGED and until == incident.acknowledged_until:
        return plan
    taken = {"state": State.ACKNOWLEDGED.value, "acknowledged_by": actor, "acknowledged_until": until}
    return _then(plan, "acknowledged", None if until is None else f"Until {_minute(until)}", **taken)


def _plan_end(plan: _Plan, changes: IncidentChanges, *, holds: bool) -> _Plan:
    incident = plan.incident
    if incident.state == State.RESOLVED:
        return plan
    if holds and changes.force is not True:
        raise ConflictError(
            f"{describe(incident)}, and still holds: {incident.name} is {incident.kind}. Resolve it all the same with "
            "force, and it is quiet until it was over once, or gets worse."
        )
    return replace(plan, resolves=True, holds=holds)


def _plan_snooze(plan: _Plan, changes: IncidentChanges) -> _Plan:
    incident, snooze, until = plan.incident, changes.snooze, changes.snoozed_until
    if snooze is None:
        return _then(plan, "unsnoozed", None, snooze=None, snoozed_until=None)
    if incident.state == State.RESOLVED:
        raise ConflictError(f"{describe(incident)}: it is quiet already.")
    if snooze is Snooze.NEXT_RUN and incident.pipeline_id is None:
        raise InvalidFieldError("snooze", f"'next_run' goes with a pipeline, and {incident.subject} is none")
    return _then(plan, "snoozed", _until(snooze, until), snooze=snooze.value, snoozed_until=until)


def _until(snooze: Snooze, until: datetime | None) -> str:
    if until is not None:
        return f"Until {_minute(until)}"
    return "Until the next run" if snooze is Snooze.NEXT_RUN else "Until it is worse"


def describe(incident: ListedIncident) -> str:
    """What an incident is now, as the beginning of a sentence."""
    text_ = f"Incident {incident.id} is {incident.state}"
    if incident.resolved_at is not None:
        how = {"hand": " by hand", "paused": " because it is paused or muted"}.get(incident.resolution or "", "")
        return f"{text_}{how} since {_minute(incident.resolved_at)}"
    return text_ if incident.acknowledged_by is None else f"{text_} by {incident.acknowledged_by}"


def _minute(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


# By the primary key. Who changes a version holds the lock of the incidents; the condition would show who does not.
_CHANGE = """
WITH planned AS (
    SELECT * FROM unnest(
        CAST(:ids AS bigint[]), CAST(:versions AS integer[]), CAST(:states AS text[]), CAST(:assignees AS text[]),
        CAST(:acknowledged_bys AS text[]), CAST(:acknowledged_untils AS timestamptz[]),
        CAST(:snoozes AS text[]), CAST(:snoozed_untils AS timestamptz[])
    ) AS planned (id, version, state, assignee, acknowledged_by, acknowledged_until, snooze, snoozed_until)
)
UPDATE incident SET state = planned.state, assignee = planned.assignee, acknowledged_by = planned.acknowledged_by,
    acknowledged_at = CASE planned.state WHEN 'acknowledged' THEN coalesce(acknowledged_at, now())
        WHEN 'resolved' THEN acknowledged_at END,
    acknowledged_until = planned.acknowledged_until, snooze = planned.snooze, snoozed_until = planned.snoozed_until,
    changed_at = now(), version = incident.version + 1
FROM planned WHERE incident.id = planned.id AND incident.version = planned.version
RETURNING incident.id
"""


def _write(connection: Connection, plans: Sequence[_Plan], actor: str) -> None:
    if not plans:
        return
    incidents = [plan.incident for plan in plans]
    columns = ("id", "version", "state", "assignee", "acknowledged_by", "acknowledged_until", "snooze", "snoozed_until")
    parameters = {f"{name}s": [getattr(incident, name) for incident in incidents] for name in columns}
    if len(set(connection.scalars(text(_CHANGE), parameters))) < len(plans):
        raise ConflictError("Incidents changed at this moment: look at them again.")
    happened = [(plan.incident.id, *what) for plan in plans for what in plan.happened]
    tally_took(connection, "acknowledged", [id_ for id_, what, _ in happened if what == "acknowledged"])
    ids, changes, texts = zip(*happened, strict=True)
    statement = """
        INSERT INTO incident_event (incident_id, change, actor, text)
        SELECT incident_id, change, :actor, said
        FROM unnest(CAST(:ids AS bigint[]), CAST(:changes AS text[]), CAST(:texts AS text[])) WITH ORDINALITY
            AS happened (incident_id, change, said, place)
        ORDER BY place
    """
    events = {"ids": list(ids), "changes": list(changes), "texts": list(texts), "actor": actor}
    connection.execute(text(statement), events)
