"""A session whose server has become read-only, as one does that is no longer the primary, is left."""

import pytest
from psycopg.errors import ReadOnlySqlTransaction
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from watcher_server.database.engine import create_ingest_pool, database_engine
from watcher_server.settings import load_settings
from watcher_server.tasking.sending.task import TRANSIENT_ERRORS


def test_an_engine_connects_anew_and_the_error_is_one_that_passes(database_url: str) -> None:
    engine = database_engine(database_url, {"default_transaction_read_only": "on"}, pool_size=1)
    with engine.connect() as connection:
        first = connection.scalar(text("SELECT pg_backend_pid()"))

    with pytest.raises(OperationalError) as refused, engine.begin() as connection:
        connection.execute(text("DELETE FROM outbox"))

    assert isinstance(refused.value, TRANSIENT_ERRORS)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT pg_backend_pid()")) != first
    engine.dispose()


async def test_the_pool_for_reports_connects_anew(database_url: str) -> None:
    url = f"{database_url}&options=-cdefault_transaction_read_only%3Don"
    pool = create_ingest_pool(load_settings(database_url=url, ingest_pool_size=1))
    async with pool:
        async with pool.connection() as connection:
            first = connection.info.backend_pid
        with pytest.raises(ReadOnlySqlTransaction):
            async with pool.connection() as connection:
                await connection.execute("DELETE FROM outbox")
        async with pool.connection() as connection:
            assert connection.info.backend_pid != first
