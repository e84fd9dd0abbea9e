"""The connections of tasks and commands."""

import pytest
from sqlalchemy import Engine, text

from watcher_server.database import engine as engines
from watcher_server.settings import get_settings


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


def test_a_task_that_hangs_in_a_transaction_keeps_its_locks_no_longer_than_a_task_may_last(engine: Engine) -> None:
    assert engine
    longest = get_settings().task_time_limit_seconds
    # Other tests end sessions on purpose.
    engines.sync_engine().dispose()

    with engines.sync_engine().connect() as connection:
        limit = text("SELECT extract(epoch FROM current_setting('idle_in_transaction_session_timeout')::interval)")
        assert connection.scalar(limit) == longest
