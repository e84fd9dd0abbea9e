"""Lists of any length as JSON, sent while they are read."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any

from fastapi import Response
from fastapi.responses import StreamingResponse
from pydantic_core import to_json
from sqlalchemy import Row

from watcher_server.database.parts import PART

# From rows to what the answer has in their place.
Show = Callable[[Sequence[Row[Any]]], Iterable[Mapping[str, Any]]]


async def list_answer(parts: AsyncIterator[Sequence[Row[Any]]], show: Show) -> Response:
    """The rows as a list. What is wrong with its first part is an error; a later one cuts off the answer."""
    first = await anext(parts, None) or []
    if len(first) < PART:
        return Response(b"[" + _joined(first, show) + b"]", media_type="application/json")
    return StreamingResponse(_pieces(first, parts, show), media_type="application/json")


async def _pieces(
    first: Sequence[Row[Any]], others: AsyncIterator[Sequence[Row[Any]]], show: Show
) -> AsyncIterator[bytes]:
    yield b"[" + _joined(first, show)
    async for rows in others:
        if rows:
            yield b"," + _joined(rows, show)
    yield b"]"


def _joined(rows: Sequence[Row[Any]], show: Show) -> bytes:
    return b",".join(map(to_json, show(rows)))
