"""Writing entries of the audit trail, and deleting old ones."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, insert, text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.audit.acting import current_actor
from watcher_server.audit.masking import Fields, differences
from watcher_server.audit.models import AuditEntry
from watcher_server.telemetry.context import current_context

_LONGEST_SOURCE = 400


@dataclass(frozen=True, slots=True)
class Change:
    """A change: what was done to which object.

    ``before`` and ``after`` are its fields; those that differ are kept. Of a change that differs in nothing no entry is
    written, of an action without fields always one.
    """

    action: str
    object_kind: str
    object_id: object
    object_name: str
    before: Fields | None = None
    after: Fields | None = None


def record(connection: Connection, *changes: Change) -> None:
    """Add an entry for each change, in the transaction of the connection; nothing while Watcher acts by itself."""
    rows = _rows(changes)
    if rows:
        connection.execute(insert(AuditEntry.__table__), rows)  # type: ignore[arg-type]  # a Table


async def record_in(session: AsyncSession, *changes: Change) -> None:
    """As :func:`record`, in the transaction of the session."""
    # Not a connection before there is something to write: it would begin a transaction for nothing.
    rows = _rows(changes)
    if rows:
        await session.execute(insert(AuditEntry.__table__), rows)  # type: ignore[arg-type]  # a Table


def _rows(changes: Iterable[Change]) -> list[dict[str, Any]]:
    actor = current_actor()
    if actor is None:
        return []
    request_id = (current_context() or {}).get("request_id")
    rows = []
    for change in changes:
        before, after = differences(change.before, change.after)
        if change.before is not None and change.after is not None and not after:
            continue
        rows.append(
            {
                "actor": actor.name,
                "actor_kind": actor.kind.value,
                "source": actor.source[:_LONGEST_SOURCE],
                "action": change.action,
                "object_kind": change.object_kind,
                "object_id": None if change.object_id is None else str(change.object_id),
                "object_name": change.object_name,
                "before": before,
                "after": after,
                "request_id": request_id,
            }
        )
    return rows


# The part of a statement that adds an entry for each ``change`` (object_kind, object_id, object_name, before, after),
# with the parameters of :func:`entry_by`. What is in before and after must hold no secret.
RECORDED = """
recorded AS (
    INSERT INTO audit_entry
        (actor, actor_kind, source, action, object_kind, object_id, object_name, before, after, request_id)
    SELECT %(actor)s::text, %(actor_kind)s::text, %(source)s::text, 'change', object_kind, object_id::text, object_name,
        before, after, %(request_id)s::text
    FROM change WHERE %(actor)s::text IS NOT NULL
)
""".strip()


def entry_by() -> dict[str, str | None]:
    """Who acts, and by which request: what :data:`RECORDED` writes; no actor while Watcher acts by itself."""
    actor = current_actor()
    return {
        "actor": None if actor is None else actor.name,
        "actor_kind": None if actor is None else actor.kind.value,
        "source": None if actor is None else actor.source[:_LONGEST_SOURCE],
        "request_id": (current_context() or {}).get("request_id"),
    }


def delete_old(engine: Engine, days: int, batch: int = 1_000) -> int:
    """Delete the entries that are older, in transactions of at most ``batch`` rows; how many."""
    # The oldest first, by ix_audit_entry_at.
    statement = text("""
        DELETE FROM audit_entry WHERE id = ANY (ARRAY(
            SELECT id FROM audit_entry WHERE at < now() - make_interval(days => :days)
            ORDER BY at LIMIT :batch FOR UPDATE SKIP LOCKED
        ))
    """)
    total = 0
    while True:
        with engine.begin() as connection:
            deleted = connection.execute(statement, {"days": days, "batch": batch}).rowcount
        total += deleted
        if deleted < batch:
            return total
