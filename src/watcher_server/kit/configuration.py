"""Get-or-create for configuration objects, safe under concurrency."""

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped

from watcher_server.database.base import Base
from watcher_server.kit.errors import NameTakenError, NotFoundError


class NamedModel(Protocol):
    """A table with an id, a unique name and the time of its last change."""

    id: Mapped[int]
    name: Mapped[str]
    updated_at: Mapped[Any]


Model = TypeVar("Model", bound=Base)


async def get_or_create(
    session: AsyncSession, model: type[Model], name: str, values: Mapping[str, Any]
) -> tuple[Model, bool]:
    """The row of that name, locked, and whether this call created it.

    Any number of callers with the same new name get one row: the unique key decides who creates it, and a caller
    that loses waits for the winner's commit and reads the row.
    """
    named: Any = model
    statement = insert(model).values(name=name, **values).on_conflict_do_nothing(index_elements=[named.name])
    while True:
        row = await session.scalar(select(model).where(named.name == name).with_for_update())
        if row is not None:
            return row, False
        created = await session.scalar(statement.returning(model))
        if created is not None:
            return created, True


async def find_for_update(session: AsyncSession, model: type[Model], row_id: int | None, name: str | None) -> Model:
    """The row with that id, or with that name where there is no id, locked.

    Raises:
        NotFoundError: there is none.
    """
    table: Any = model
    match = table.id == row_id if row_id is not None else table.name == name
    row = await session.scalar(select(model).where(match).with_for_update())
    if row is None:
        what = model.__tablename__.replace("_", " ")
        raise NotFoundError(f"No {what} has the {f'id {row_id}' if row_id is not None else f'name {name!r}'}.")
    return row


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
            what = row.__tablename__.replace("_", " ").capitalize()
            raise NameTakenError(f"{what} name already exists") from None
        raise
    await session.refresh(row)
