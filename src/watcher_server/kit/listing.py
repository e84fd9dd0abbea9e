"""Lists: filtered, ordered by id, whole unless the caller pages."""

from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel
from sqlalchemy import Select, func, select
from sqlalchemy.orm import DeclarativeBase

from watcher_server.kit.fields import Limit, Offset


class Page(BaseModel):
    """Which part of a list is wanted; without a limit, all of it."""

    limit: Limit | None = None
    offset: Offset = 0

    def of(self, statement: Select[Any]) -> Select[Any]:
        """The statement, cut to this page."""
        return statement.limit(self.limit).offset(self.offset or None)


def read_page(
    limit: Annotated[Limit | None, Query(description="The most rows to return; without it, all.")] = None,
    offset: Annotated[Offset, Query(description="How many rows to leave out at the beginning.")] = 0,
) -> Page:
    """The page that a list request asks for."""
    return Page(limit=limit, offset=offset)


def contains(text: str) -> str:
    """A LIKE pattern for rows that contain the text, whatever characters it holds."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def list_statement(model: type[DeclarativeBase], *, name: str | None = None, **wanted: Any) -> Select[Any]:
    """Rows by id: those whose name contains ``name``, which is in lower case, and whose columns have the wanted values.

    A filter that is None filters nothing, and neither does an empty name.
    """
    table: Any = model
    statement = select(model).order_by(table.id)
    if name:
        statement = statement.where(func.lower(table.name).like(contains(name)))
    return statement.where(*(getattr(table, column) == value for column, value in wanted.items() if value is not None))
