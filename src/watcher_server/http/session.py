"""One request, one transaction."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.http.idempotency import claim_key
from watcher_server.http.state import app_state


async def open_session(request: Request) -> AsyncIterator[AsyncSession]:
    """A session whose transaction commits when the route returns, and rolls back when it raises.

    Raises:
        ReplayError: the request was answered before, by the key that it carries.
    """
    async with (
        AsyncSession(app_state(request).query_engine, expire_on_commit=False) as session,
        session.begin(),
    ):
        await claim_key(request, session)
        yield session


# scope="function": the transaction commits before the answer is sent, so an answer never tells of what was not stored.
Session = Annotated[AsyncSession, Depends(open_session, scope="function")]
