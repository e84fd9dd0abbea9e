"""Logging a browser in without the login page."""

from sqlalchemy import Engine

from watcher_server.auth.credentials import COOKIE
from watcher_server.auth.service import find_token
from watcher_server.auth.sessions import create_session


def begin_session(engine: Engine, token: str) -> str:
    """What the cookie of a new session of this token holds."""
    with engine.begin() as connection:
        known = find_token(connection, token)
        assert known is not None
        return create_session(connection, token_id=known.id, address="127.0.0.1", browser="a test")


def session_cookie(engine: Engine, token: str) -> dict[str, str]:
    """The header with that cookie, over http."""
    return {"Cookie": f"{COOKIE}={begin_session(engine, token)}"}
