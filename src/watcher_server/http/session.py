"""One request, one transaction."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.database.engine import IngestPool


async def open_session(request: Request) -> AsyncIterator[AsyncSession]:
    """A session whose transaction commits when the route returns, and rolls back when it raises."""
    async with (
        AsyncSession(request.app.state.query_engine, expire_on_commit=False) as session,
        session.begin(),
    ):
        yield session


# scope="function": the commit happens before the answer is sent, so that an answer is never a promise unkept.
Session = Annotated[AsyncSession, Depends(open_session, scope="function")]


def ingest_pool(request: Request) -> IngestPool:
    """The connections that starts and ends of executions have to themselves."""
    pool: IngestPool = request.app.state.ingest_pool
    return pool
