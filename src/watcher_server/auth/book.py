"""A copy of the tokens in each process, so that checking a request costs no query."""

import asyncio
import logging
import time

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from watcher_server.auth.failures import FailedLogins
from watcher_server.auth.service import KnownToken, read_token_book, record_failed_logins, record_use

logger = logging.getLogger(__name__)

_REFRESH_SECONDS = 2.0
# After six seconds without a request a process reads the tokens before it answers: one may have been revoked.
_STALE_SECONDS = 6.0
# An unknown token may be a new one. Wrong tokens come fast, so the database is asked at most four times a second.
_LOOK_AGAIN_SECONDS = 0.25
_LONGEST_WAIT_SECONDS = 3.0
_RECORD_USE_SECONDS = 60.0


class TokenBook:
    """Tokens by hash. Requests start a new reading in the background; without the database the last reading holds.

    The same connection stores when tokens were used, and how many logins failed.
    """

    def __init__(self, engine: AsyncEngine, failed_logins: FailedLogins) -> None:
        self._engine = engine
        self._failed_logins = failed_logins
        self._tokens: dict[bytes, KnownToken] | None = None
        self._attempted_at = float("-inf")
        self._refresh: asyncio.Task[None] | None = None
        self._noted_at: dict[int, float] = {}
        self._unrecorded: dict[int, float] = {}

    async def tokens(self) -> dict[bytes, KnownToken] | None:
        """The tokens by hash; None when they were never read and the database does not answer."""
        age = time.monotonic() - self._attempted_at
        if age > _REFRESH_SECONDS:
            self._start_refresh()
        if self._tokens is None or age > _STALE_SECONDS:
            await self._wait_for_refresh()
        return self._tokens

    async def find(self, token_hash: bytes) -> KnownToken | None:
        """The token with this hash, also when it was made since the last reading; its use is noted."""
        token = (self._tokens or {}).get(token_hash)
        if token is None:
            if time.monotonic() - self._attempted_at > _LOOK_AGAIN_SECONDS:
                self._start_refresh()
            await self._wait_for_refresh()
            token = (self._tokens or {}).get(token_hash)
        if token is not None:
            self._note_use(token)
        return token

    async def close(self) -> None:
        """Stop reading."""
        if self._refresh is not None:
            self._refresh.cancel()
            await asyncio.gather(self._refresh, return_exceptions=True)

    def _note_use(self, token: KnownToken) -> None:
        now = time.monotonic()
        if now - self._noted_at.get(token.id, float("-inf")) > _RECORD_USE_SECONDS:
            self._noted_at[token.id] = now
            self._unrecorded[token.id] = time.time()
            self._start_refresh()

    def _start_refresh(self) -> None:
        if self._refresh is None or self._refresh.done():
            self._attempted_at = time.monotonic()
            self._refresh = asyncio.create_task(self._read(), name="token-book")

    async def _wait_for_refresh(self) -> None:
        if self._refresh is not None:
            await asyncio.wait([self._refresh], timeout=_LONGEST_WAIT_SECONDS)

    async def _read(self) -> None:
        used, self._unrecorded = self._unrecorded, {}
        failed = self._failed_logins.take_counts()
        try:
            async with asyncio.timeout(_LONGEST_WAIT_SECONDS), self._engine.connect() as connection:
                await connection.execution_options(isolation_level="AUTOCOMMIT")
                self._tokens = await connection.run_sync(_exchange, used, failed)
        except (SQLAlchemyError, OSError) as error:
            self._unrecorded = used | self._unrecorded
            self._failed_logins.give_back(failed)
            logger.warning("The tokens could not be read, the last known ones hold: %s", type(error).__name__)


def _exchange(connection: Connection, used: dict[int, float], failed: dict[str, int]) -> dict[bytes, KnownToken]:
    if used:
        record_use(connection, used)
    tokens = read_token_book(connection)
    if failed:
        # Last, because what goes wrong after it would have them counted twice.
        record_failed_logins(connection, failed)
    return tokens
