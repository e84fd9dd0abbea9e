"""Tokens: made, listed, rotated, revoked, and read for the check of every request; and the count of failed logins."""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, exists, select, text
from sqlalchemy.dialects.postgresql import insert

from watcher_server.audit.service import Change, record
from watcher_server.auth.models import ApiToken, FailedLoginCount
from watcher_server.auth.scopes import Scope

_LONGEST_NAME = 150
_LONGEST_PURPOSE = 300
LIFETIME = timedelta(days=365)
WARNED_BEFORE = timedelta(days=14)


class TokenNameTakenError(Exception):
    """Another token has that name."""


class InvalidTokenNameError(Exception):
    """The name or the purpose cannot be stored; the message says what can."""


@dataclass(frozen=True)
class ListedToken:
    """What may be shown of a token. Times are UTC; ``last_used_at`` is None for a token that was never used.

    ``expires_at`` is None for one without an end. The secret of before its rotation works until ``previous_until``.
    """

    name: str
    scope: str
    created_at: datetime
    last_used_at: datetime | None
    purpose: str | None
    expires_at: datetime | None
    previous_until: datetime | None

    @property
    def is_over(self) -> bool:
        """Whether it has expired."""
        return self.expires_at is not None and self.expires_at <= datetime.now(UTC)

    @property
    def ends_soon(self) -> bool:
        """Whether it works, and will expire within 14 days."""
        return not self.is_over and self.expires_at is not None and self.expires_at <= datetime.now(UTC) + WARNED_BEFORE


@dataclass(frozen=True)
class KnownToken:
    """A token as the check of a request needs it. ``expires_at`` is that of its secret, which may be a former one."""

    id: int
    name: str
    scope: Scope
    expires_at: datetime | None = None
    is_former: bool = False


def digest(token: str | bytes) -> bytes:
    """The SHA-256 of a token, which is stored in its place. A random token needs no salt and no slow hash."""
    raw = token if isinstance(token, bytes) else token.encode(errors="replace")
    return hashlib.sha256(raw).digest()


def create_token(
    connection: Connection,
    name: str,
    scope: str,
    *,
    lifetime: timedelta | None = LIFETIME,
    purpose: str | None = None,
) -> str:
    """Make a token and store its hash; the token itself exists only in what this returns.

    It expires after ``lifetime``, by default a year; None is never.

    Raises:
        TokenNameTakenError: another token has that name.
        InvalidTokenNameError: the name or the purpose is empty, too long, or holds a control character.
        ValueError: no such scope.
    """
    if not 1 <= len(name) <= _LONGEST_NAME or not name.isprintable():
        raise InvalidTokenNameError(f"A token's name has 1 to {_LONGEST_NAME} printable characters.")
    if purpose is not None and (not 1 <= len(purpose) <= _LONGEST_PURPOSE or not purpose.isprintable()):
        raise InvalidTokenNameError(f"A token's purpose has 1 to {_LONGEST_PURPOSE} printable characters.")
    token = _new_secret()
    said = {"scope": Scope(scope).value, "purpose": purpose, "expires_at": _end_of(lifetime)}
    statement = (
        insert(ApiToken)
        .values(name=name, token_hash=digest(token), **said)
        .on_conflict_do_nothing(index_elements=[ApiToken.name])
        .returning(ApiToken.id)
    )
    token_id = connection.scalar(statement)
    if token_id is None:
        raise TokenNameTakenError(name)
    record(connection, Change("create", "token", token_id, name, after=said))
    return token


def rotate_token(
    connection: Connection, name: str, *, overlap: timedelta, lifetime: timedelta | None = LIFETIME
) -> str | None:
    """Give a token a new secret, which is returned; the old one works on for ``overlap``. None: no such token.

    Without an overlap the logins that were made with it end too, for it may have been stolen.
    """
    statement = """
        UPDATE api_token SET token_hash = :hash, expires_at = :expires_at,
            previous_hash = CASE WHEN :overlap_seconds > 0 THEN token_hash END,
            previous_until = CASE WHEN :overlap_seconds > 0
                THEN least(now() + make_interval(secs => :overlap_seconds), coalesce(expires_at, 'infinity')) END
        WHERE name = :name RETURNING id
    """
    token = _new_secret()
    said = {"overlap_seconds": overlap.total_seconds(), "expires_at": _end_of(lifetime)}
    token_id = connection.scalar(text(statement), {"name": name, "hash": digest(token), **said})
    if token_id is None:
        return None
    if not overlap:
        _end_sessions(connection, token_id)
    record(connection, Change("rotate", "token", token_id, name, after=said))
    return token


def _end_sessions(connection: Connection, token_id: int) -> None:
    statement = """
        UPDATE login_session SET ended_at = now(), ended_why = 'revoked' WHERE token_id = :id AND ended_at IS NULL
    """
    connection.execute(text(statement), {"id": token_id})


def _new_secret() -> str:
    return f"watcher_{secrets.token_urlsafe(32)}"


def _end_of(lifetime: timedelta | None) -> datetime | None:
    return None if lifetime is None else datetime.now(UTC) + lifetime


def list_tokens(connection: Connection) -> list[ListedToken]:
    """Every token, by name."""
    columns = [getattr(ApiToken, field.name) for field in fields(ListedToken)]
    return [ListedToken(*row) for row in connection.execute(select(*columns).order_by(ApiToken.name))]


def find_ending_tokens(connection: Connection) -> Sequence[ListedToken]:
    """The tokens that work, and will expire within 14 days, by name."""
    return [token for token in list_tokens(connection) if token.ends_soon]


def revoke_token(connection: Connection, name: str) -> bool:
    """Remove the token, and end its logins; False when there is none of that name. Servers notice within seconds."""
    statement = select(ApiToken.id, ApiToken.scope).where(ApiToken.name == name).with_for_update()
    token = connection.execute(statement).one_or_none()
    if token is None:
        return False
    _end_sessions(connection, token.id)
    connection.execute(text("DELETE FROM api_token WHERE id = :id"), {"id": token.id})
    record(connection, Change("revoke", "token", token.id, name, before={"scope": token.scope}))
    return True


def has_tokens(connection: Connection) -> bool:
    """Whether there is any token."""
    return bool(connection.scalar(select(exists().select_from(ApiToken))))


_COLUMNS = (
    ApiToken.token_hash,
    ApiToken.id,
    ApiToken.name,
    ApiToken.scope,
    ApiToken.expires_at,
    ApiToken.previous_hash,
    ApiToken.previous_until,
)


def read_token_book(connection: Connection) -> dict[bytes, KnownToken]:
    """Every token by its hash, those that have expired too: a server with one is not open to everybody."""
    book = {}
    for row in connection.execute(select(*_COLUMNS)):
        token = book[bytes(row.token_hash)] = KnownToken(row.id, row.name, Scope(row.scope), row.expires_at)
        if row.previous_hash is not None:
            ends_at = _former_end(row.previous_until, row.expires_at)
            book[bytes(row.previous_hash)] = KnownToken(token.id, token.name, token.scope, ends_at, is_former=True)
    return book


def _former_end(until: datetime | None, expires_at: datetime | None) -> datetime | None:
    """When the secret of before the last rotation ends: no later than its token."""
    return min(until, expires_at) if until and expires_at else until


def find_token(connection: Connection, token: str) -> KnownToken | None:
    """The token, also when it has expired; None when there is none."""
    shown = digest(token)
    statement = select(*_COLUMNS).where((ApiToken.token_hash == shown) | (ApiToken.previous_hash == shown))
    row = connection.execute(statement).one_or_none()
    if row is None:
        return None
    expires_at = row.expires_at if bytes(row.token_hash) == shown else _former_end(row.previous_until, row.expires_at)
    return KnownToken(row.id, row.name, Scope(row.scope), expires_at)


def record_use(connection: Connection, used: Mapping[int, float]) -> None:
    """Store when tokens were last used: seconds since the epoch by token id, at most once a minute each."""
    statement = """
        UPDATE api_token SET last_used_at = to_timestamp(used.moment)
        FROM unnest(CAST(:ids AS bigint[]), CAST(:moments AS float8[])) AS used (id, moment)
        WHERE api_token.id = used.id
            AND (last_used_at IS NULL OR last_used_at <= to_timestamp(used.moment) - interval '1 minute')
    """
    connection.execute(text(statement), {"ids": list(used), "moments": list(used.values())})


def record_failed_logins(connection: Connection, counts: Mapping[str, int]) -> None:
    """Add to the numbers of failed logins, by the way in which the wrong tokens were shown."""
    statement = """
        INSERT INTO failed_login_count (kind, number)
        SELECT kind, number FROM unnest(CAST(:kinds AS text[]), CAST(:numbers AS bigint[])) AS noted (kind, number)
        ORDER BY kind
        ON CONFLICT (kind) DO UPDATE SET number = failed_login_count.number + excluded.number
    """
    connection.execute(text(statement), {"kinds": list(counts), "numbers": list(counts.values())})


def count_failed_logins(connection: Connection) -> dict[str, int]:
    """How many logins failed in all, by kind: ``bearer``, ``cookie``, ``form`` and ``provider``."""
    counts = dict.fromkeys(("bearer", "cookie", "form", "provider"), 0)
    for kind, number in connection.execute(select(FailedLoginCount.kind, FailedLoginCount.number)):
        counts[kind] = number
    return counts
