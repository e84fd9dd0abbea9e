"""What is in the archive."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.archive.service import Kind


class Archived(NamedTuple):
    """A pipeline or an address in the archive, since when (UTC), and how many there are of its kind."""

    id: int
    name: str
    type_name: str
    archived_at: datetime
    total: int


async def read_archived(session: AsyncSession, kind: Kind, most: int) -> Sequence[Archived]:
    """At most this number, the ones that were archived last."""
    # One pass over the table, which has a row per pipeline or address.
    statement = f"""
        SELECT each.id, coalesce(each.display_name, each.name), type.name, archived_at, count(*) OVER ()
        FROM {kind} AS each JOIN {kind}_type AS type ON type.id = each.{kind}_type_id
        WHERE archived_at IS NOT NULL AND forgotten_at IS NULL
        ORDER BY archived_at DESC, each.id LIMIT :most
    """  # noqa: S608 - a word of the code
    return [Archived(*row) for row in await session.execute(text(statement), {"most": most})]
