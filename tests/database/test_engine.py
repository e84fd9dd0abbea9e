"""The connections of tasks and commands."""

import pytest
from sqlalchemy import Engine, text

from watcher_server.database import engine as engines


def test_a_connection_that_was_lost_while_nobody_used_it_is_replaced(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = engines.sync_engine()
    with pool.begin() as connection:
        lost = connection.scalar(text("SELECT pg_backend_pid()"))
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": lost})
    monkeypatch.setattr(engines, "_TRUSTED_SECONDS", 0.0)
    with pool.begin() as connection:
        assert connection.scalar(text("SELECT pg_backend_pid()")) != lost
