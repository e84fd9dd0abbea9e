"""Long lists, read a part at a time: no process holds all rows, and a client that reads slowly holds no connection."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import Row, Select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from watcher_server.database.metadata import bytes_shown, show_metadata
from watcher_server.kit.listing import Page

PART: Final = 1_000

# From a part of the list and the id that it comes after to the statement that finds its rows, by id.
FindPart = Callable[[AsyncSession, Page, int], Awaitable[Select[Any]]]


async def read_parts(
    engine: AsyncEngine, page: Page, find: FindPart, *metadata: str
) -> AsyncIterator[Sequence[Row[Any]]]:
    """The rows of the page by id, at most ``PART`` at a time.

    A row that changes meanwhile comes as it was or as it is. ``metadata`` are the columns of which all parts together
    show as much as one answer may hold.
    """
    left, part = page.limit, page.model_copy(update={"limit": PART})
    last_id, spent = 0, dict.fromkeys(metadata, 0)
    while left is None or left > 0:
        if left is not None:
            part.limit = min(PART, left)
        async with AsyncSession(engine) as session:
            shown = await find(session, part, last_id)
            if metadata:
                shown = show_metadata(shown.subquery(), *metadata, spent=spent)
            # Past the ORM, which would go through all rows once more.
            rows = (await (await session.connection()).execute(shown)).all()
        yield rows
        if len(rows) < PART:
            return
        last_id, part.offset = rows[-1].id, 0
        left = None if left is None else left - PART
        spent = {name: spent[name] + bytes_shown(rows, name) for name in metadata}


def pick(rows: Sequence[Row[Any]], names: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """These columns of each row, in this order."""
    if rows:
        # Each row would make the list of its columns anew.
        of = itemgetter(*map(rows[0]._fields.index, names))
        for row in rows:
            yield dict(zip(names, of(row), strict=True))
