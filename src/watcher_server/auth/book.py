"""A copy of the tokens and sessions in each process, so that checking a request costs no query."""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from watcher_server.auth import service
from watcher_server.auth.failures import FailedLogins
from watcher_server.auth.sessions import Ending, KnownSession, read_session_book, record_session_use

logger = logging.getLogger(__name__)

_REFRESH_SECONDS = 2.0
# After six seconds without a request a process reads the tokens before it answers: one may have been revoked.
_STALE_SECONDS = 6.0
# An unknown token may be a new one. Wrong tokens come fast, so the database is asked at most four times a second.
_LOOK_AGAIN_SECONDS = 0.25
_LONGEST_WAIT_SECONDS = 3.0

Known = TypeVar("Known")


class _Reading(NamedTuple):
    tokens: dict[bytes, service.KnownToken]
    sessions: dict[bytes, KnownSession]


class _Uses:
    """When rows of one table were used, as far as this process knows: noted once a minute each, until stored."""

    def __init__(self) -> None:
        self.noted_at: dict[int, float] = {}
        self.unrecorded: dict[int, float] = {}

    def note(self, row_id: int) -> bool:
        """Note that the row is used; whether that is new."""
        now = time.time()
        if now < self.noted_at.get(row_id, 0) + 60:
            return False
        self.noted_at[row_id] = self.unrecorded[row_id] = now
        return True

    def take(self) -> dict[int, float]:
        """What is to be stored: seconds since the epoch by id."""
        taken, self.unrecorded = self.unrecorded, {}
        return taken

    def give_back(self, taken: dict[int, float]) -> None:
        """Keep what could not be stored for the next time."""
        self.unrecorded = taken | self.unrecorded


class TokenBook:
    """Tokens and sessions by hash. Requests start a new reading in the background.

    Without the database the last reading holds. The same connection stores when they were used, and how many logins
    failed.
    """

    def __init__(self, engine: AsyncEngine, failed_logins: FailedLogins) -> None:
        self._engine = engine
        self._failed_logins = failed_logins
        self._reading: _Reading | None = None
        self._attempted_at = float("-inf")
        self._refresh: asyncio.Task[None] | None = None
        self._token_uses = _Uses()
        self._session_uses = _Uses()

    async def tokens(self) -> dict[bytes, service.KnownToken] | None:
        """The tokens by hash; None when they were never read and the database does not answer."""
        age = time.monotonic() - self._attempted_at
        if age > _REFRESH_SECONDS:
            self._start_refresh()
        if self._reading is None or age > _STALE_SECONDS:
            await self._wait_for_refresh()
        return None if self._reading is None else self._reading.tokens

    async def find(self, token_hash: bytes) -> service.KnownToken | None:
        """The token with this hash, also when it was made since the last reading; its use is noted.

        One that has expired is found too, and its use is not noted.
        """
        token = await self._look(lambda reading: reading.tokens.get(token_hash))
        if token is not None and not has_passed(token.expires_at) and self._token_uses.note(token.id):
            self._start_refresh()
        return token

    async def find_session(self, session_hash: bytes) -> tuple[KnownSession, Ending | None] | None:
        """The session with this hash, and why it is over, None for one that goes on, whose use is noted."""
        session = await self._look(lambda reading: reading.sessions.get(session_hash))
        if session is None:
            return None
        used = datetime.fromtimestamp(self._session_uses.noted_at.get(session.id, 0), UTC)
        ending = session.ending(datetime.fromtimestamp(time.time(), UTC), used)
        if ending is None and self._session_uses.note(session.id):
            if session.owner_id is not None and session.owner_id > 0:
                self._token_uses.note(session.owner_id)
            self._start_refresh()
        return session, ending

    def ending_soon(self) -> list[str]:
        """The names of the tokens that work, and will expire within 14 days, as of the last reading."""
        now = datetime.fromtimestamp(time.time(), UTC)
        tokens = self._reading.tokens.values() if self._reading else ()
        ending = (
            token for token in tokens if token.expires_at and now < token.expires_at <= now + service.WARNED_BEFORE
        )
        return sorted(token.name for token in ending if not token.is_former)

    async def close(self) -> None:
        """Stop reading."""
        if self._refresh is not None:
            self._refresh.cancel()
            await asyncio.gather(self._refresh, return_exceptions=True)

    async def _look(self, find: Callable[[_Reading], Known | None]) -> Known | None:
        found = find(self._reading) if self._reading else None
        if found is None:
            await self._read_anew()
            found = find(self._reading) if self._reading else None
        return found

    async def _read_anew(self) -> None:
        """Wait for a reading that began after this call: a browser follows its login to another process at once."""
        called_at = time.monotonic()
        await self._wait_for_refresh()
        if self._attempted_at < called_at:
            rest = self._attempted_at + _LOOK_AGAIN_SECONDS - called_at
            if rest > 0:
                await asyncio.sleep(rest)
            # Of all who wait here, the first starts it.
            if self._attempted_at < called_at:
                self._start_refresh()
        await self._wait_for_refresh()

    def _start_refresh(self) -> None:
        if self._refresh is None or self._refresh.done():
            self._attempted_at = time.monotonic()
            self._refresh = asyncio.create_task(self._read(), name="token-book")

    async def _wait_for_refresh(self) -> None:
        if self._refresh is not None:
            await asyncio.wait([self._refresh], timeout=_LONGEST_WAIT_SECONDS)

    async def _read(self) -> None:
        tokens, sessions = self._token_uses.take(), self._session_uses.take()
        failed = self._failed_logins.take_counts()
        try:
            async with asyncio.timeout(_LONGEST_WAIT_SECONDS), self._engine.connect() as connection:
                await connection.execution_options(isolation_level="AUTOCOMMIT")
                self._reading = await connection.run_sync(_exchange, tokens, sessions, failed)
        except (SQLAlchemyError, OSError) as error:
            self._token_uses.give_back(tokens)
            self._session_uses.give_back(sessions)
            self._failed_logins.give_back(failed)
            logger.warning("The tokens could not be read, the last known ones hold: %s", type(error).__name__)


def has_passed(moment: datetime | None) -> bool:
    """Whether this moment is over; None never is."""
    return moment is not None and moment.timestamp() <= time.time()


def _exchange(
    connection: Connection, used_tokens: dict[int, float], used_sessions: dict[int, float], failed: dict[str, int]
) -> _Reading:
    if used_tokens:
        service.record_use(connection, used_tokens)
    if used_sessions:
        record_session_use(connection, used_sessions)
    reading = _Reading(service.read_token_book(connection), read_session_book(connection))
    if failed:
        # Last, because what goes wrong after it would have them counted twice.
        service.record_failed_logins(connection, failed)
    return reading
