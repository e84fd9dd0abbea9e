"""How long the history is kept."""

from uuid import uuid4

from sqlalchemy import Engine, select

from tests.support.rows import ago
from tests.support.tasks import add_task
from watcher_server.tasking.history.service import trim_history
from watcher_server.tasking.models import TaskRun


def trim(engine: Engine, *, days: int = 7, failed_days: int = 90, batch: int = 100) -> int:
    with engine.begin() as connection:
        return trim_history(connection, days, failed_days, batch)


def kept(engine: Engine) -> set[str]:
    with engine.connect() as connection:
        return {str(task_id) for task_id in connection.scalars(select(TaskRun.id))}


def test_failed_tasks_are_kept_for_longer(engine: Engine) -> None:
    with engine.begin() as connection:
        young = add_task(connection, finished_at=ago(days=6))
        add_task(connection, finished_at=ago(days=8))
        add_task(connection, "REVOKED", finished_at=ago(days=8))
        failed = add_task(connection, "FAILURE", finished_at=ago(days=89))
        add_task(connection, "FAILURE", finished_at=ago(days=91))

    assert trim(engine) == 3
    assert kept(engine) == {young, failed}
    assert trim(engine) == 0


def test_failed_tasks_may_be_kept_for_less_long(engine: Engine) -> None:
    with engine.begin() as connection:
        succeeded = add_task(connection, finished_at=ago(days=5))
        add_task(connection, "FAILURE", finished_at=ago(days=5))

    assert trim(engine, days=7, failed_days=2) == 1
    assert kept(engine) == {succeeded}


def test_what_never_finished_is_kept(engine: Engine) -> None:
    with engine.begin() as connection:
        unfinished = {
            add_task(connection, state, created_at=ago(days=400)) for state in ("PENDING", "PROGRESS", "RETRY")
        }

    assert trim(engine) == 0
    assert kept(engine) == unfinished


def test_a_batch_is_the_oldest(engine: Engine) -> None:
    with engine.begin() as connection:
        tasks = [add_task(connection, finished_at=ago(days=days)) for days in (8, 10, 9)]

    assert trim(engine, batch=2) == 2
    assert kept(engine) == {tasks[0]}


def test_a_coalesced_task_goes_after_the_one_that_did_its_work(engine: Engine) -> None:
    with engine.begin() as connection:
        failed = add_task(connection, "FAILURE", finished_at=ago(days=20))
        joined = add_task(connection, "COALESCED", coalesced_into=failed, finished_at=ago(days=21))
        succeeded = add_task(connection, finished_at=ago(days=20))
        add_task(connection, "COALESCED", coalesced_into=succeeded, finished_at=ago(days=21))
        recent = add_task(connection, "COALESCED", coalesced_into=uuid4(), finished_at=ago(days=1))

    assert trim(engine) == 1
    assert trim(engine) == 1
    assert kept(engine) == {failed, joined, recent}
