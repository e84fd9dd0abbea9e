"""Reading the trail: page by page, and whole."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

from sqlalchemy import Connection, Row, Select, Text, cast, func, or_, select
from sqlalchemy.ext.asyncio import AsyncEngine

from watcher_server.audit.models import AuditEntry
from watcher_server.audit.schemas import AuditEntryResponse, AuditFilter, AuditPage, AuditQuery
from watcher_server.kit.listing import contains


def _wanted(asked: AuditFilter) -> Select[Any]:
    """By the index on objects or on actors where one of them is asked for; a search reads every entry of the time."""
    statement = select(AuditEntry.__table__)
    for name in ("actor", "action", "object_kind", "object_id"):
        if value := getattr(asked, name):
            statement = statement.where(getattr(AuditEntry, name) == value)
    if asked.since is not None:
        statement = statement.where(AuditEntry.at >= asked.since)
    if asked.until is not None:
        statement = statement.where(AuditEntry.at < asked.until)
    if asked.q:
        pattern = contains(asked.q.lower())
        columns = (AuditEntry.object_name, AuditEntry.actor, AuditEntry.source, AuditEntry.action)
        found = [*columns, cast(AuditEntry.before, Text), cast(AuditEntry.after, Text)]
        statement = statement.where(or_(*(func.lower(column).like(pattern) for column in found)))
    return statement


def list_entries(connection: Connection, asked: AuditQuery) -> AuditPage:
    """A page of entries, the newest first."""
    statement = _wanted(asked)
    if asked.cursor is not None:
        statement = statement.where(AuditEntry.id < asked.cursor)
    rows = connection.execute(statement.order_by(AuditEntry.id.desc()).limit(asked.limit + 1)).all()
    shown = [AuditEntryResponse.model_validate(row) for row in rows[: asked.limit]]
    return AuditPage(entries=shown, next_cursor=shown[-1].id if len(rows) > asked.limit else None)


def read_lines(connection: Connection, asked: AuditFilter) -> Iterator[str]:
    """Every entry that is wanted, the oldest first, each as a line of JSON."""
    last = 0
    while rows := connection.execute(_piece(asked, last)).all():
        yield from map(_line, rows)
        last = rows[-1].id


async def write_lines(engine: AsyncEngine, asked: AuditFilter) -> AsyncIterator[str]:
    """Every entry that is wanted, the oldest first, a JSON object on each line.

    A connection is held while a piece is read, and never while the client receives it.
    """
    last: int | None = 0
    while last is not None:
        async with engine.connect() as connection:
            rows = (await connection.execute(_piece(asked, last))).all()
        yield "".join(map(_line, rows))
        last = rows[-1].id if rows else None


def _piece(asked: AuditFilter, after: int) -> Select[Any]:
    # After each piece, other requests get their turn.
    return _wanted(asked).where(AuditEntry.id > after).order_by(AuditEntry.id).limit(500)


def _line(row: Row[Any]) -> str:
    return f"{AuditEntryResponse.model_validate(row).model_dump_json()}\n"


def list_words(connection: Connection) -> dict[str, list[str]]:
    """The actions and the kinds of objects that there are, for the fields of a filter.

    Each kind and action by a pass over the table, which holds what people did in a year.
    """
    columns = {"actions": AuditEntry.action, "kinds": AuditEntry.object_kind}
    return {
        name: list(connection.scalars(select(column).distinct().order_by(column))) for name, column in columns.items()
    }
