"""The bar on every page while alerts do not arrive somewhere."""

import asyncio

from fastapi import Request
from sqlalchemy.exc import SQLAlchemyError

from watcher_server.alerts.broken import find_broken
from watcher_server.auth.access import may_read
from watcher_server.http.state import app_state
from watcher_server.web.pages import is_part

# A page that the database keeps waiting does not wait for this.
_SECONDS = 1.0


async def note_broken_channels(request: Request) -> None:
    """Keep the names of the channels that are broken for the frame of the page, where it will have one."""
    is_page = request.method == "GET" and "text/html" in request.headers.get("accept", "") and not is_part(request)
    if not is_page or not may_read(request):
        return
    try:
        async with asyncio.timeout(_SECONDS), app_state(request).query_engine.connect() as connection:
            broken = await connection.run_sync(find_broken)
    except (SQLAlchemyError, OSError, TimeoutError):
        return
    request.state.broken_channels = [channel.name for channel in broken]
