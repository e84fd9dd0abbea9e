"""Naming the fields of a request that were ignored in its answer, and counting such requests."""

import json
import logging
from collections.abc import Sequence

import sqlalchemy.exc
from fastapi import Response
from sqlalchemy import Connection, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from watcher_server.http.models import IgnoredFieldCount

logger = logging.getLogger(__name__)

_COUNT = """
INSERT INTO ignored_field_count AS known (path, number) VALUES (:path, 1)
ON CONFLICT (path) DO UPDATE SET number = known.number + 1
"""


def name_ignored(response: Response, ignored: Sequence[str]) -> None:
    """Add ``ignored`` to an answer that is a JSON object; every other answer stays as it is."""
    if response.headers.get("content-type") != "application/json":
        return
    answer = json.loads(bytes(response.body))
    if isinstance(answer, dict):
        answer["ignored"] = list(ignored)
        response.body = json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()
        response.headers["content-length"] = str(len(response.body))


async def count_ignored(engine: AsyncEngine, path: str) -> None:
    """Count a request that was carried out but for fields that the path does not know."""
    try:
        async with engine.begin() as connection:
            await connection.execute(text(_COUNT), {"path": path})
    except sqlalchemy.exc.SQLAlchemyError as error:
        # What the request asked for is stored already: it has not failed because this has.
        logger.warning("A request to %s had unknown fields, and could not be counted: %s", path, error)


def read_ignored(connection: Connection) -> dict[str, int]:
    """How many requests had unknown fields, by the path of the route."""
    rows = connection.execute(select(IgnoredFieldCount.path, IgnoredFieldCount.number).order_by(IgnoredFieldCount.path))
    return {row.path: row.number for row in rows}
