"""The task that applies what waits."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text

from tests.support.openlineage import put, run_event
from tests.support.rows import now
from watcher_server.openlineage.tasks import openlineage_apply_task

# One more event comes while the first one is being applied.
_ONE_MORE = """
CREATE FUNCTION send_one_more() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO openlineage_event (lane, body) VALUES (NEW.lane, NEW.body);
    RETURN NULL;
END $$;
CREATE TRIGGER one_more AFTER UPDATE ON openlineage_event FOR EACH ROW WHEN (NEW.id = {first})
EXECUTE FUNCTION send_one_more()
"""


@pytest.fixture
def engine_with_functions(engine: Engine) -> Iterator[Engine]:
    """The engine, without the functions that the test made once it is over."""
    yield engine
    with engine.begin() as connection:
        connection.execute(text("DROP FUNCTION IF EXISTS send_one_more CASCADE"))


def test_what_comes_during_the_last_turn_is_applied_too(engine_with_functions: Engine) -> None:
    engine = engine_with_functions
    (first,) = put(engine, [run_event("START", now())])
    with engine.begin() as connection:
        connection.execute(text(_ONE_MORE.format(first=first)))
    openlineage_apply_task()
    with engine.connect() as connection:
        waiting = "SELECT count(*) FROM openlineage_event WHERE applied_at IS NULL"
        assert connection.scalar(text(waiting)) == 0
