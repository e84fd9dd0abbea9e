"""Finding pipelines by what a person remembers of their names."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.kit.listing import contains
from watcher_server.kit.names import fold


class FoundPipeline(NamedTuple):
    """A pipeline, with its name as it was first sent."""

    id: int
    name: str
    type_name: str


_SEARCH = text("""
SELECT pipeline.id, coalesce(pipeline.display_name, pipeline.name) AS name, pipeline_type.name AS type_name
FROM pipeline JOIN pipeline_type ON pipeline_type.id = pipeline.pipeline_type_id
WHERE pipeline.archived_at IS NULL AND pipeline.name LIKE ALL (CAST(:patterns AS text[]))
ORDER BY NOT starts_with(pipeline.name, :first), length(pipeline.name), pipeline.name
LIMIT :limit
""")


async def search_pipelines(session: AsyncSession, wanted: str, most: int) -> tuple[Sequence[FoundPipeline], bool]:
    """The best of the pipelines whose names contain all the words, at most ``most``, and whether there are more."""
    words = fold(wanted).split()
    if not words:
        return [], False
    parameters = {"patterns": [contains(word) for word in words], "first": words[0], "limit": most + 1}
    found = [FoundPipeline(*row) for row in await session.execute(_SEARCH, parameters)]
    return found[:most], len(found) > most
