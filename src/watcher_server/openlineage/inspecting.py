"""Looking at events: what each says, what became of it, and why one failed."""

import zlib
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, Row, text

from watcher_server.kit.errors import NotFoundError
from watcher_server.kit.fields import ResponseBody
from watcher_server.openlineage.envelope import Envelope, EventKind, parse_event, read_envelope
from watcher_server.openlineage.masking import mask
from watcher_server.telemetry.redaction import redact

# What an event says of its job and run is compressed, so those who look for it look through the newest ones.
_MOST_LOOKED_AT: Final = 20_000
_AT_ONCE: Final = 200
# Longer bodies are shown of one event alone.
_MOST_BODIES: Final = 2 * 1024 * 1024
_LONGEST_IN_LIST: Final = 256 * 1024


class State(StrEnum):
    """What became of an event."""

    WAITING = "waiting"
    APPLIED = "applied"
    FAILED = "failed"


# Backwards by ix_openlineage_event_id, or by the primary key of those that failed.
_KEPT = """
SELECT id, received_at, applied_at, NULL::timestamptz AS failed_at, lane, NULL AS error, body FROM openlineage_event
"""
_FAILED = """
SELECT id, received_at, NULL::timestamptz AS applied_at, failed_at, lane, error, body FROM openlineage_failed_event
"""
_WHICH = {
    State.WAITING: _KEPT + "WHERE applied_at IS NULL AND ",
    State.APPLIED: _KEPT + "WHERE applied_at IS NOT NULL AND ",
    State.FAILED: _FAILED + "WHERE ",
}
_PAGE = "id < :before ORDER BY id DESC LIMIT :most"


class EventResponse(ResponseBody):
    """An event, with its secrets masked; `bytes` is the size of its body.

    In a list, `body` is null for a long one. `unreadable` says why a body cannot be read.
    """

    id: int
    state: State
    received_at: datetime
    applied_at: datetime | None
    failed_at: datetime | None
    namespace: str
    error: str | None
    kind: EventKind | None
    event_type: str | None
    event_time: datetime | None
    job: str | None
    run_id: str | None
    bytes: int | None
    body: Any
    unreadable: str | None


class EventsResponse(ResponseBody):
    """Events, the newest first; `complete` is false where older ones were not looked at."""

    events: list[EventResponse]
    complete: bool


def find_events(
    connection: Connection, state: State, *, job: str | None = None, run: str | None = None, limit: int = 50
) -> EventsResponse:
    """The newest events in a state; only those of a ``job`` (its name, or ``namespace/name``), or of a run's id."""
    found: list[EventResponse] = []
    looked_at, bodies = 0, 0
    for row in _walk(connection, state):
        if len(found) == limit or looked_at == _MOST_LOOKED_AT:
            return EventsResponse(events=found, complete=False)
        looked_at += 1
        event = _show(row, state, job=job, run=run)
        if event is None:
            continue
        size = event.bytes or 0
        bodies += size
        if size > _LONGEST_IN_LIST or bodies > _MOST_BODIES:
            event.body = None
        found.append(event)
    return EventsResponse(events=found, complete=True)


def read_one(connection: Connection, event_id: int) -> EventResponse:
    """Everything about one event. Raises NotFoundError: it was never there, or was kept for as long as events are."""
    for statement in (_FAILED, _KEPT):
        row = connection.execute(text(f"{statement} WHERE id = :id"), {"id": event_id}).first()
        if row is not None:
            state = State.FAILED if row.failed_at else State.APPLIED if row.applied_at else State.WAITING
            event = _show(row, state)
            if event is not None:
                return event
    raise NotFoundError(f"There is no event {event_id}: it never came, or was kept for as long as events are.")


def _walk(connection: Connection, state: State) -> Iterator[Row[Any]]:
    before = 2**63 - 1
    while True:
        rows = connection.execute(text(_WHICH[state] + _PAGE), {"before": before, "most": _AT_ONCE}).all()
        yield from rows
        if len(rows) < _AT_ONCE:
            return
        before = rows[-1].id


def _show(row: Row[Any], state: State, *, job: str | None = None, run: str | None = None) -> EventResponse | None:
    """The event; None where another job or run is wanted."""
    raw = body = envelope = unreadable = None
    try:
        raw = zlib.decompress(row.body)
        body = parse_event(raw)
        envelope = read_envelope(body)
    except (zlib.error, ValueError) as error:
        unreadable = redact(f"{type(error).__name__}: {error}")
    if not _is_meant(envelope, job, run):
        return None
    named = (envelope.job or envelope.dataset) if envelope else None
    return EventResponse(
        id=row.id,
        state=state,
        received_at=row.received_at,
        applied_at=row.applied_at,
        failed_at=row.failed_at,
        namespace=mask(named.namespace if named else row.lane),
        error=None if row.error is None else redact(row.error),
        kind=envelope.kind if envelope else None,
        event_type=envelope.type.name if envelope and envelope.run_id is not None else None,
        event_time=envelope.at if envelope else None,
        job=mask(named.name) if named else None,
        run_id=envelope.run_id if envelope else None,
        bytes=None if raw is None else len(raw),
        body=mask(body),
        unreadable=unreadable,
    )


def _is_meant(envelope: Envelope | None, job: str | None, run: str | None) -> bool:
    if job is None and run is None:
        return True
    if envelope is None or envelope.job is None:
        return False
    names = {envelope.job.name, f"{envelope.job.namespace}/{envelope.job.name}"}
    return (job is None or job in names) and (run is None or run == envelope.run_id)
