"""Headers with tokens, for tests of what each login sees."""

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine, text

from watcher_server.auth.service import create_token

MakeToken = Callable[[str], dict[str, str]]


@pytest.fixture
def token(engine: Engine) -> Iterator[MakeToken]:
    """Headers with a new token of a scope."""

    def make(scope: str) -> dict[str, str]:
        with engine.begin() as connection:
            return {"Authorization": f"Bearer {create_token(connection, scope, scope)}"}

    yield make
    # Other tests share the database.
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM api_token"))
