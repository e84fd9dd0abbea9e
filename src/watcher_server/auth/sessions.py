"""Sessions: browsers that logged in, each a row that can be ended; the cookie holds a random id of no other use."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, text

from watcher_server.audit.service import Change, record
from watcher_server.auth.scopes import Scope
from watcher_server.auth.service import digest

IDLE = timedelta(hours=12)
LONGEST = timedelta(days=7)
# Everybody who may log in may do so again and again; a person has a few browsers.
MOST_PER_OWNER = 50


class Ending(StrEnum):
    """Why a session is over, as its row says or its times do."""

    LOGOUT = "logout"
    ENDED = "ended"
    REVOKED = "revoked"
    BLOCKED = "blocked"
    EXPIRED = "expired"
    IDLE = "idle"
    AGE = "age"


SENTENCES = {
    Ending.LOGOUT: "You were logged out in another window.",
    Ending.ENDED: "This session was ended on the page of sessions.",
    Ending.REVOKED: "The token of this login was revoked.",
    Ending.BLOCKED: "An administrator has revoked your access.",
    Ending.EXPIRED: "The token of this login has expired.",
    Ending.IDLE: "Your session ended after 12 hours without use.",
    Ending.AGE: "Your session ended after 7 days.",
}


@dataclass(frozen=True)
class KnownSession:
    """A session as the check of a request needs it. Times are UTC.

    ``owner_id`` is that of its token, or negative that of its person, and None when its token is gone.
    ``token_expires_at`` is None for a person, and for a token without an end.
    """

    id: int
    owner_id: int | None
    name: str
    scope: Scope
    created_at: datetime
    last_used_at: datetime
    token_expires_at: datetime | None
    ended_why: Ending | None

    @property
    def expires_at(self) -> datetime:
        """When it ends, however much it is used."""
        longest = self.created_at + LONGEST
        return longest if self.token_expires_at is None else min(longest, self.token_expires_at)

    def ending(self, now: datetime, last_used_at: datetime | None = None) -> Ending | None:
        """Why it is over; None while it is not. A process may know of a later use than the database."""
        if self.ended_why is not None:
            return self.ended_why
        if self.owner_id is None:
            return Ending.REVOKED
        if self.token_expires_at is not None and self.token_expires_at <= now:
            return Ending.EXPIRED
        if self.created_at + LONGEST <= now:
            return Ending.AGE
        return Ending.IDLE if max(self.last_used_at, last_used_at or self.last_used_at) + IDLE <= now else None

    def ending_now(self) -> Ending | None:
        """Why it is over by now, as far as the database knows."""
        return self.ending(datetime.now(UTC))


@dataclass(frozen=True)
class ListedSession:
    """What may be shown of a session that goes on, to the one whose it is and to administrators."""

    id: int
    name: str
    created_at: datetime
    last_used_at: datetime
    address: str
    browser: str


_SESSIONS = """
SELECT s.session_hash, s.id, coalesce(s.token_id, -s.person_id) AS owner_id, coalesce(t.name, p.name, '') AS name,
    coalesce(t.scope, p.scope, 'read') AS scope, s.created_at, s.last_used_at, t.expires_at AS token_expires_at,
    CASE WHEN s.ended_at IS NOT NULL THEN coalesce(s.ended_why, 'ended') WHEN p.blocked_at IS NOT NULL THEN 'blocked'
    END AS ended_why
FROM login_session AS s LEFT JOIN api_token AS t ON t.id = s.token_id LEFT JOIN person AS p ON p.id = s.person_id
"""


def read_session_book(connection: Connection) -> dict[bytes, KnownSession]:
    """Every session by the hash of its id, those that ended lately too."""
    return {bytes(row.session_hash): _known(row) for row in connection.execute(text(_SESSIONS))}


def find_session(connection: Connection, session_id: bytes) -> KnownSession | None:
    """The session of that id, as the cookie holds it; also one that ended lately."""
    statement = text(f"{_SESSIONS} WHERE s.session_hash = :hash")
    row = connection.execute(statement, {"hash": digest(session_id)}).one_or_none()
    return None if row is None else _known(row)


def _known(row: Row[Any]) -> KnownSession:
    values = {**row._asdict(), "scope": Scope(row.scope), "ended_why": row.ended_why and Ending(row.ended_why)}
    del values["session_hash"]
    return KnownSession(**values)


def create_session(
    connection: Connection, *, token_id: int | None = None, person_id: int | None = None, address: str, browser: str
) -> str:
    """Begin a session of a token or of a person; the id for the cookie exists only in what this returns."""
    session_id = secrets.token_urlsafe(32)
    owner = {"token_id": token_id, "person_id": person_id}
    shown = {"address": address[:100], "browser": "".join(filter(str.isprintable, browser))[:200]}
    create = """
        INSERT INTO login_session (session_hash, token_id, person_id, address, browser)
        VALUES (:hash, :token_id, :person_id, :address, :browser)
    """
    connection.execute(text(create), {"hash": digest(session_id), **owner, **shown})
    forget_oldest = """
        DELETE FROM login_session WHERE id IN (
            SELECT id FROM login_session WHERE token_id = :token_id OR person_id = :person_id
            ORDER BY ended_at IS NULL DESC, last_used_at DESC OFFSET :most
        )
    """
    connection.execute(text(forget_oldest), {**owner, "most": MOST_PER_OWNER})
    return session_id


def end_session(connection: Connection, session_id: bytes) -> None:
    """End the session of the browser that logs out."""
    statement = """
        UPDATE login_session SET ended_at = now(), ended_why = 'logout' WHERE session_hash = :hash AND ended_at IS NULL
    """
    connection.execute(text(statement), {"hash": digest(session_id)})


def end_sessions(
    connection: Connection, *, row_id: int | None = None, owner_id: int | None = None, but: int | None = None
) -> int:
    """End the session of that row, or every one, of this owner where one is given, ``but`` one; how many did."""
    if row_id is None and owner_id is None:
        return 0
    statement = """
        UPDATE login_session SET ended_at = now(), ended_why = 'ended'
        WHERE ended_at IS NULL
            AND (CAST(:id AS bigint) IS NULL OR id = :id) AND (CAST(:but AS bigint) IS NULL OR id <> :but)
            AND (CAST(:owner AS bigint) IS NULL OR coalesce(token_id, -person_id) = :owner)
        RETURNING id, address, (
            SELECT name FROM api_token WHERE api_token.id = token_id
            UNION ALL SELECT name FROM person WHERE person.id = person_id
        ) AS name
    """
    ended = connection.execute(text(statement), {"id": row_id, "owner": owner_id, "but": but}).all()
    record(connection, *(Change("end", "session", row.id, row.name, before={"address": row.address}) for row in ended))
    return len(ended)


def list_sessions(connection: Connection, owner_id: int | None = None) -> Sequence[ListedSession]:
    """The sessions that go on, of one owner or of all, the last used first; 200 at most."""
    statement = """
        SELECT s.id, coalesce(t.name, p.name) AS name, s.created_at, s.last_used_at, s.address, s.browser
        FROM login_session AS s
        LEFT JOIN api_token AS t ON t.id = s.token_id LEFT JOIN person AS p ON p.id = s.person_id
        WHERE s.ended_at IS NULL AND (t.id IS NOT NULL OR p.blocked_at IS NULL AND p.id IS NOT NULL)
            AND s.last_used_at > now() - CAST(:idle AS interval) AND s.created_at > now() - CAST(:longest AS interval)
            AND (t.expires_at IS NULL OR t.expires_at > now())
            AND (CAST(:owner AS bigint) IS NULL OR coalesce(s.token_id, -s.person_id) = :owner)
        ORDER BY s.last_used_at DESC, s.id LIMIT 200
    """
    values = {"idle": IDLE, "longest": LONGEST, "owner": owner_id}
    return [ListedSession(*row) for row in connection.execute(text(statement), values)]


def record_session_use(connection: Connection, used: Mapping[int, float]) -> None:
    """Store when sessions were last used: seconds since the epoch by row id."""
    statement = """
        UPDATE login_session SET last_used_at = to_timestamp(used.moment)
        FROM unnest(CAST(:ids AS bigint[]), CAST(:moments AS float8[])) AS used (id, moment)
        WHERE login_session.id = used.id AND last_used_at < to_timestamp(used.moment)
    """
    connection.execute(text(statement), {"ids": list(used), "moments": list(used.values())})


def forget_old_sessions(connection: Connection) -> None:
    """Delete the sessions that have been over for a day."""
    statement = """
        DELETE FROM login_session
        WHERE ended_at < now() - interval '1 day' OR token_id IS NULL AND person_id IS NULL AND ended_at IS NULL
            OR last_used_at < now() - CAST(:idle AS interval) - interval '1 day'
            OR created_at < now() - CAST(:longest AS interval) - interval '1 day'
    """
    connection.execute(text(statement), {"idle": IDLE, "longest": LONGEST})
