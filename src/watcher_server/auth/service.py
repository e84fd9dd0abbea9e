"""Tokens: made, listed, revoked, and read for the check of every request; and the count of failed logins."""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, exists, select, text
from sqlalchemy.dialects.postgresql import insert

from watcher_server.auth.models import ApiToken, FailedLoginCount
from watcher_server.auth.scopes import Scope

_LONGEST_NAME = 150


class TokenNameTakenError(Exception):
    """Another token has that name."""


class InvalidTokenNameError(Exception):
    """The name cannot be stored; the message says what can."""


@dataclass(frozen=True)
class ListedToken:
    """What may be shown of a token. Times are UTC; ``last_used_at`` is None for a token that was never used."""

    name: str
    scope: str
    created_at: datetime
    last_used_at: datetime | None


@dataclass(frozen=True)
class KnownToken:
    """A token as the check of a request needs it."""

    id: int
    name: str
    scope: Scope


def digest(token: str | bytes) -> bytes:
    """The SHA-256 of a token, which is stored in its place. A random token needs no salt and no slow hash."""
    raw = token if isinstance(token, bytes) else token.encode(errors="replace")
    return hashlib.sha256(raw).digest()


def create_token(connection: Connection, name: str, scope: str) -> str:
    """Make a token and store its hash; the token itself exists only in what this returns.

    Raises:
        TokenNameTakenError: another token has that name.
        InvalidTokenNameError: the name is empty, too long, or holds a control character.
        ValueError: no such scope.
    """
    if not 1 <= len(name) <= _LONGEST_NAME or not name.isprintable():
        raise InvalidTokenNameError(f"A token's name has 1 to {_LONGEST_NAME} printable characters.")
    token = f"watcher_{secrets.token_urlsafe(32)}"
    statement = (
        insert(ApiToken)
        .values(name=name, scope=Scope(scope).value, token_hash=digest(token))
        .on_conflict_do_nothing(index_elements=[ApiToken.name])
        .returning(ApiToken.id)
    )
    if connection.scalar(statement) is None:
        raise TokenNameTakenError(name)
    return token


def list_tokens(connection: Connection) -> list[ListedToken]:
    """Every token, by name."""
    columns = (ApiToken.name, ApiToken.scope, ApiToken.created_at, ApiToken.last_used_at)
    return [ListedToken(*row) for row in connection.execute(select(*columns).order_by(ApiToken.name))]


def revoke_token(connection: Connection, name: str) -> bool:
    """Remove the token; False when there is none of that name. Running servers notice within seconds."""
    statement = delete(ApiToken).where(ApiToken.name == name).returning(ApiToken.id)
    return connection.scalar(statement) is not None


def has_tokens(connection: Connection) -> bool:
    """Whether there is any token."""
    return bool(connection.scalar(select(exists().select_from(ApiToken))))


def read_token_book(connection: Connection) -> dict[bytes, KnownToken]:
    """Every token by its hash."""
    rows = connection.execute(select(ApiToken.token_hash, ApiToken.id, ApiToken.name, ApiToken.scope))
    return {bytes(row.token_hash): KnownToken(row.id, row.name, Scope(row.scope)) for row in rows}


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
    """How many logins failed in all, by kind: ``bearer``, ``cookie`` and ``form``."""
    counts = dict.fromkeys(("bearer", "cookie", "form"), 0)
    for kind, number in connection.execute(select(FailedLoginCount.kind, FailedLoginCount.number)):
        counts[kind] = number
    return counts


def find_token(connection: Connection, token: str) -> KnownToken | None:
    """The token, if it is valid."""
    statement = select(ApiToken.id, ApiToken.name, ApiToken.scope).where(ApiToken.token_hash == digest(token))
    row = connection.execute(statement).one_or_none()
    return None if row is None else KnownToken(row.id, row.name, Scope(row.scope))
