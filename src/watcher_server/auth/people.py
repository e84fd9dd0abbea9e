"""The people whom a provider of logins knows: noted when they log in, listed, and kept out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from watcher_server.audit.service import Change, record
from watcher_server.auth.scopes import Scope


@dataclass(frozen=True)
class ListedPerson:
    """A person as administrators see them. ``blocked_at`` is None for one who may log in; times are UTC."""

    id: int
    issuer: str
    subject: str
    name: str
    scope: Scope
    last_login_at: datetime
    blocked_at: datetime | None


def note_person(connection: Connection, *, issuer: str, subject: str, name: str, scope: Scope) -> int | None:
    """Store who logs in, with the role of this login; the id of the row, None for one who is kept out."""
    # The provider owns the name and the roles; what an administrator of Watcher has said stays.
    statement = """
        INSERT INTO person (issuer, subject, name, scope) VALUES (:issuer, :subject, :name, :scope)
        ON CONFLICT (issuer, subject) DO UPDATE
        SET name = excluded.name, scope = excluded.scope, last_login_at = now() WHERE person.blocked_at IS NULL
        RETURNING id
    """
    values = {"issuer": issuer, "subject": subject, "name": name, "scope": scope.value}
    person_id: int | None = connection.scalar(text(statement), values)
    return person_id


def list_people(connection: Connection) -> Sequence[ListedPerson]:
    """Everybody who has logged in through the provider, by name; 500 at most."""
    statement = """
        SELECT id, issuer, subject, name, scope, last_login_at, blocked_at FROM person
        ORDER BY lower(name), id LIMIT 500
    """
    return [
        ListedPerson(row.id, row.issuer, row.subject, row.name, Scope(row.scope), row.last_login_at, row.blocked_at)
        for row in connection.execute(text(statement))
    ]


def block_person(connection: Connection, person_id: int, *, blocked: bool) -> None:
    """Keep a person out, and end their sessions; or let them in again, by logging in anew."""
    if blocked:
        ended = """
            UPDATE login_session SET ended_at = now(), ended_why = 'blocked' WHERE person_id = :id AND ended_at IS NULL
        """
        connection.execute(text(ended), {"id": person_id})
    moment = "coalesce(blocked_at, now())" if blocked else "NULL"
    statement = f"UPDATE person SET blocked_at = {moment} WHERE id = :id RETURNING name"  # noqa: S608 - constants
    name = connection.scalar(text(statement), {"id": person_id})
    if name is not None:
        record(connection, Change("block" if blocked else "unblock", "person", person_id, name))
