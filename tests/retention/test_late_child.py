"""A run that is given a child after a batch has looked at it, and before the batch deletes it."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from psycopg.errors import ForeignKeyViolation
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import IntegrityError

from tests.support.live import wait_until
from tests.support.rows import add_pipeline, add_run, ago
from watcher_server.executions.models import PipelineExecution
from watcher_server.retention import batches, executions
from watcher_server.retention.schemas import CleanupRequest
from watcher_server.retention.service import Cleanup, clean_up

WINDOW = "WHERE (start_date, id) < (:start_date, :id)"
# The first batch waits when it has taken its snapshot and locked no row yet.
WAITING_WINDOW = f"""
    WHERE (SELECT pg_sleep(CASE nextval('turns') WHEN 1 THEN 2 ELSE 0 END)) IS NOT NULL
        AND {WINDOW.removeprefix("WHERE ")}
"""
IS_WAITING = text("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep')")


def clean_up_while_a_child_begins(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int, Cleanup]:
    """The ids of the old run and of its child, and what the cleanup did."""
    statement = executions.DELETE_BATCH
    assert WINDOW in statement
    monkeypatch.setattr(executions, "DELETE_BATCH", statement.replace(WINDOW, WAITING_WINDOW))
    # A single row has no time limit.
    monkeypatch.setattr(batches, "_FIRST_ROWS", 1)
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
        old = add_run(connection, pipeline, start_date=ago(days=100), end_date=ago(days=99))
        connection.execute(text("CREATE SEQUENCE turns"))

    def is_waiting() -> bool:
        with engine.connect() as connection:
            return bool(connection.scalar(IS_WAITING))

    try:
        with ThreadPoolExecutor(1) as thread:
            cleaning = thread.submit(clean_up, engine, CleanupRequest(retention_days=90))
            wait_until(is_waiting, "the batch waits with its snapshot")
            with engine.begin() as connection:
                child = add_run(connection, pipeline, start_date=ago(days=1), end_date=None, parent_id=old)
            return old, child, cleaning.result()
    finally:
        with engine.begin() as connection:
            connection.execute(text("DROP SEQUENCE turns"))


def test_the_batch_looks_again_and_the_run_stays(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    old, child, done = clean_up_while_a_child_begins(engine, monkeypatch)

    assert done.finished
    assert done.counts["total_pipeline_executions_deleted"] == 0
    with engine.connect() as connection:
        assert set(connection.scalars(select(PipelineExecution.id))) == {old, child}


def test_it_is_the_foreign_key_that_stops_the_batch(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without another look the cleanup would fail, so the test above is about the second look."""
    monkeypatch.setattr(batches, "_TRIES", 0)

    with pytest.raises(IntegrityError) as stopped:
        clean_up_while_a_child_begins(engine, monkeypatch)

    assert isinstance(stopped.value.orig, ForeignKeyViolation)
