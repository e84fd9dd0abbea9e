"""What the page shows."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from watcher_server.auth.callers import Caller
from watcher_server.auth.people import ListedPerson, list_people
from watcher_server.auth.service import ListedToken, list_tokens
from watcher_server.auth.sessions import ListedSession, list_sessions


@dataclass(frozen=True)
class Account:
    """``own`` are the sessions of the one who looks; the rest is empty for everybody but administrators."""

    own: Sequence[ListedSession]
    others: Sequence[ListedSession] = ()
    tokens: Sequence[ListedToken] = ()
    people: Sequence[ListedPerson] = ()


def read_account(connection: Connection, me: Caller, *, everybody: bool) -> Account:
    """The sessions of the caller, and with ``everybody`` what administrators see."""
    own = list_sessions(connection, me.id) if me.id else []
    if not everybody:
        return Account(own)
    mine = {session.id for session in own}
    others = [session for session in list_sessions(connection) if session.id not in mine]
    return Account(own, others, list_tokens(connection), list_people(connection))
