"""Lists: ordered by id, whole unless the caller pages."""

from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel
from sqlalchemy import Select

from watcher_server.kit.fields import Limit, Offset


class Page(BaseModel):
    """Which part of a list is wanted; without a limit, all of it."""

    limit: Limit | None = None
    offset: Offset = 0

    def of(self, statement: Select[Any]) -> Select[Any]:
        """The statement, cut to this page."""
        return statement.limit(self.limit).offset(self.offset or None)


def read_page(
    limit: Annotated[Limit | None, Query(description="At most so many rows; all without it.")] = None,
    offset: Annotated[Offset, Query(description="Leave out the first so many rows.")] = 0,
) -> Page:
    """The page that a list request asks for."""
    return Page(limit=limit, offset=offset)


def contains(text: str) -> str:
    """A LIKE pattern for rows that contain the text, whatever characters it holds."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
