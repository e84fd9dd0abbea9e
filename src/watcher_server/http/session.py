"""One request, one transaction; or one statement, for what changes nothing."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, TypeVar

from fastapi import Depends, Request, Response
from psycopg import AsyncConnection, OperationalError
from psycopg.rows import TupleRow
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.http.idempotency import claim_key, remember_answer
from watcher_server.http.state import app_state

Found = TypeVar("Found")


async def open_session(request: Request) -> AsyncIterator[AsyncSession]:
    """A session whose transaction commits when the route returns, and rolls back when it raises.

    Raises:
        ReplayError: the request was answered before, by the key that it carries.
    """
    async with AsyncSession(app_state(request).query_engine, expire_on_commit=False) as session, session.begin():
        await claim_key(request, session)
        yield session


# scope="function": the transaction commits before the answer is sent, so an answer never tells of what was not stored.
Session = Annotated[AsyncSession, Depends(open_session, scope="function")]


async def in_transaction(request: Request, work: Callable[[AsyncSession], Awaitable[Response]]) -> Response:
    """The answer of an ingest route that changes something, stored with the key of the request if it has one.

    Raises:
        ReplayError: the request was answered before, by the key that it carries.
    """
    async with asynccontextmanager(open_session)(request) as session:
        response = await work(session)
        await remember_answer(request, response)
    return response


async def ask_at_once(request: Request, ask: Callable[[AsyncConnection[TupleRow]], Awaitable[Found]]) -> Found:
    """What a statement finds on autocommit, on a connection of the ingest pool.

    That a connection was lost while it was idle is found out by its use. Then all idle ones are checked, and it is
    asked once more: what it writes must come to the same when it is written twice.
    """
    pool = app_state(request).ingest_pool
    async with pool.connection() as connection:
        try:
            return await ask(connection)
        except OperationalError:
            if not connection.broken:
                raise
    await pool.check()
    async with pool.connection() as connection:
        return await ask(connection)
