"""How large a batch is, and what stops one."""

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from watcher_server.retention.batches import Batches

# A hundredth of a second for each row.
SLOW = "SELECT pg_sleep(:batch_size / 100.0), CAST(:batch_size AS int) AS rows, CAST(:asked AS int) AS asked"
QUICK = "SELECT CAST(:batch_size AS int) AS rows"


def test_a_batch_that_would_hold_its_locks_for_long_is_tried_with_fewer_rows(engine: Engine) -> None:
    row = Batches(engine, SLOW, 100_000).run({"asked": 7})
    assert 1 <= row.rows <= 8
    assert row.asked == 7


def test_a_single_row_may_take_as_long_as_it_needs(engine: Engine) -> None:
    assert Batches(engine, "SELECT pg_sleep(0.2), CAST(:batch_size AS int) AS rows", 1).run({}).rows == 1


def test_batches_grow_while_they_are_quick_and_never_beyond_what_was_asked_for(engine: Engine) -> None:
    batches = Batches(engine, QUICK, 300)
    assert [batches.run({}).rows for _ in range(4)] == [200, 300, 300, 300]


def test_any_other_error_is_told(engine: Engine) -> None:
    with pytest.raises(DBAPIError, match="division by zero"):
        Batches(engine, "SELECT 1 / (:batch_size - :batch_size)", 10).run({})
