"""Finding, listing, getting or creating, and changing configuration objects, safe under concurrency.

Rows are locked FOR NO KEY UPDATE: two changes of one row take turns, and a row that is written with a reference to it
need not wait. With the full lock it would have to, and two requests that lock a row and one it refers to in different
orders would wait for each other.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.database.base import Base
from watcher_server.kit.errors import NameTakenError, NotFoundError
from watcher_server.kit.listing import Page, list_statement

Model = TypeVar("Model", bound=Base)


async def get_or_create(
    session: AsyncSession, model: type[Model], key: Mapping[str, Any], values: Mapping[str, Any], *, lock: bool = True
) -> tuple[Model, bool]:
    """The row with that unique key, and whether this call created it with those values.

    Any number of callers with the same new key get one row: the unique index lets one of them create it, and the others
    wait for its commit and read the row. ``lock`` holds an existing row until the transaction
    ends; a caller that only refers to the row does without.
    """
    existing = select(model).filter_by(**key)
    if lock:
        existing = existing.with_for_update(key_share=True)
    new = insert(model).values(**{**values, **key}).on_conflict_do_nothing(index_elements=list(key))
    while True:
        row = await session.scalar(existing)
        if row is not None:
            return row, False
        created = await session.scalar(new.returning(model))
        if created is not None:
            return created, True


async def find(session: AsyncSession, model: type[Model], row_id: int) -> Model:
    """The row with that id; raises NotFoundError if there is none."""
    row = await session.get(model, row_id)
    if row is None:
        raise _not_found(model, f"id {row_id}")
    return row


def find_missing(connection: Connection, model: type[Base], ids: Sequence[int]) -> Sequence[int]:
    """Those of the ids that no row has, in order; a task says of them that it left them out."""
    statement = f"""
        SELECT DISTINCT wanted.id FROM unnest(CAST(:ids AS bigint[])) AS wanted (id)
        WHERE NOT EXISTS (SELECT FROM {model.__tablename__} AS held WHERE held.id = wanted.id) ORDER BY wanted.id
    """  # noqa: S608 - the name of a table
    return connection.scalars(text(statement), {"ids": list(ids)}).all()


async def list_rows(session: AsyncSession, model: type[Model], page: Page, **filters: Any) -> Sequence[Model]:
    """One page of the rows that :func:`list_statement` finds with these filters, by id."""
    return (await session.scalars(page.of(list_statement(model, **filters)))).all()


async def find_for_update(session: AsyncSession, model: type[Model], row_id: int | None, name: str | None) -> Model:
    """The row with that id, or with that name where there is no id, locked; raises NotFoundError if there is none."""
    key = {"name": name} if row_id is None else {"id": row_id}
    row = await session.scalar(select(model).filter_by(**key).with_for_update(key_share=True))
    if row is None:
        raise _not_found(model, f"name {name!r}" if row_id is None else f"id {row_id}")
    return row


def _not_found(model: type[Base], key: str) -> NotFoundError:
    return NotFoundError(f"No {model.__tablename__.replace('_', ' ')} has the {key}.")


async def apply_changes(session: AsyncSession, row: Base, changes: Mapping[str, Any]) -> None:
    """Write the fields into the row and set ``updated_at``.

    Raises:
        NameTakenError: the new name belongs to another row.
    """
    for field, value in changes.items():
        setattr(row, field, value)
    target: Any = row
    target.updated_at = func.now()
    try:
        await session.flush()
    except IntegrityError as error:
        if "name" in changes and "_name" in str(error.orig):
            raise NameTakenError(f"{row.__tablename__.replace('_', ' ').capitalize()} name already exists") from None
        raise
    await session.refresh(row)
