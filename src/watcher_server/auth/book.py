"""The tokens as one process knows them, so that checking a request costs no query."""

import asyncio
import logging
import time

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from watcher_server.auth.service import KnownToken, read_token_book, record_use

logger = logging.getLogger(__name__)

_REFRESH_SECONDS = 2.0
# A process that had no request for so long reads the tokens before it answers: a revoked one may be among them.
_STALE_SECONDS = 6.0
# A token that is not in the book may be new. Looking for it is rationed, for guesses come fast.
_LOOK_AGAIN_SECONDS = 0.25
_LONGEST_WAIT_SECONDS = 3.0
_RECORD_USE_SECONDS = 60.0


class TokenBook:
    """Tokens by hash, read again in the background of requests; the last known ones while the database is away."""

    def __init__(self) -> None:
        self._tokens: dict[bytes, KnownToken] | None = None
        self._attempted_at = float("-inf")
        self._refresh: asyncio.Task[None] | None = None
        self._noted_at: dict[int, float] = {}
        self._unrecorded: dict[int, float] = {}

    async def tokens(self, engine: AsyncEngine) -> dict[bytes, KnownToken] | None:
        """The tokens by hash; None when they were never read and the database does not answer."""
        age = time.monotonic() - self._attempted_at
        if age > _REFRESH_SECONDS:
            self._start_refresh(engine)
        if self._tokens is None or age > _STALE_SECONDS:
            await self._wait_for_refresh()
        return self._tokens

    async def look_again(self, engine: AsyncEngine, token_hash: bytes) -> KnownToken | None:
        """The token, if it was made since the tokens were last read."""
        if time.monotonic() - self._attempted_at > _LOOK_AGAIN_SECONDS:
            self._start_refresh(engine)
        await self._wait_for_refresh()
        return (self._tokens or {}).get(token_hash)

    def note_use(self, token: KnownToken, engine: AsyncEngine) -> None:
        """Remember that the token was used, and have that stored, at most once a minute."""
        now = time.monotonic()
        if now - self._noted_at.get(token.id, float("-inf")) > _RECORD_USE_SECONDS:
            self._noted_at[token.id] = now
            self._unrecorded[token.id] = time.time()
            self._start_refresh(engine)

    def _start_refresh(self, engine: AsyncEngine) -> None:
        if self._refresh is None or self._refresh.done():
            self._attempted_at = time.monotonic()
            self._refresh = asyncio.create_task(self._read(engine), name="token-book")

    async def _wait_for_refresh(self) -> None:
        if self._refresh is not None:
            await asyncio.wait([self._refresh], timeout=_LONGEST_WAIT_SECONDS)

    async def _read(self, engine: AsyncEngine) -> None:
        used, self._unrecorded = self._unrecorded, {}
        try:
            async with asyncio.timeout(_LONGEST_WAIT_SECONDS), engine.connect() as connection:
                await connection.execution_options(isolation_level="AUTOCOMMIT")
                self._tokens = await connection.run_sync(_exchange, used)
        except (SQLAlchemyError, OSError) as error:
            self._unrecorded = used | self._unrecorded
            logger.warning("The tokens could not be read, the last known ones hold: %s", type(error).__name__)


def _exchange(connection: Connection, used: dict[int, float]) -> dict[bytes, KnownToken]:
    if used:
        record_use(connection, used)
    return read_token_book(connection)
