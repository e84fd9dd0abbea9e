"""Who works, who stopped, who died."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, Engine, func, select, text, update

from tests.support.queues import add_worker
from tests.support.rows import ago
from watcher_server.tasking.models import Worker
from watcher_server.tasking.wire import ALIVE
from watcher_server.tasking.workers.service import (
    beat_worker,
    count_active_workers,
    forget_workers,
    list_served_queues,
    list_workers,
    stop_worker,
)

ABOUT: dict[str, Any] = {
    "name": "celery@one",
    "host": "one",
    "pid": 4711,
    "queues": ["celery"],
    "metrics_url": "http://127.0.0.1:9808/metrics",
}


def _register(connection: Connection) -> UUID:
    worker_id = uuid4()
    beat_worker(connection, worker_id, processes=2, **ABOUT)
    return worker_id


def _silence(connection: Connection, worker_id: UUID, **duration: float) -> None:
    connection.execute(update(Worker).where(Worker.id == worker_id).values(seen_at=ago(**duration)))


def test_a_worker_lives_from_its_start(engine: Engine) -> None:
    with engine.begin() as connection:
        worker_id = _register(connection)
    with engine.begin() as connection:
        (worker,) = list_workers(connection)
    assert (worker.id, worker.name, worker.host, worker.pid) == (worker_id, "celery@one", "one", 4711)
    assert (worker.queues, worker.processes, worker.active) == (["celery"], 2, 0)
    assert (worker.state, worker.stopped_at) == ("alive", None)
    assert worker.metrics_url == ABOUT["metrics_url"]


def test_a_heartbeat_says_what_it_is_doing_and_keeps_it_alive(engine: Engine) -> None:
    with engine.begin() as connection:
        worker_id = _register(connection)
        _silence(connection, worker_id, minutes=5)
    with engine.begin() as connection:
        beat_worker(connection, worker_id, active=3, processes=4, **ABOUT)
        (worker,) = list_workers(connection)
    assert (worker.state, worker.active, worker.processes) == ("alive", 3, 4)
    assert worker.seen_seconds < 30


def test_a_heartbeat_of_a_worker_that_the_database_forgot_writes_it_anew(engine: Engine) -> None:
    with engine.begin() as connection:
        beat_worker(connection, uuid4(), active=1, processes=2, **ABOUT)
        (worker,) = list_workers(connection)
    assert (worker.name, worker.state, worker.active) == ("celery@one", "alive", 1)


def test_a_worker_that_stops_says_so_and_a_late_heartbeat_does_not_bring_it_back(engine: Engine) -> None:
    with engine.begin() as connection:
        worker_id = _register(connection)
        stop_worker(connection, worker_id)
        beat_worker(connection, worker_id, processes=2, **ABOUT)
        (worker,) = list_workers(connection)
        assert (worker.state, count_active_workers(connection)) == ("stopped", 0)


def test_a_worker_that_falls_silent_has_died(engine: Engine) -> None:
    with engine.begin() as connection:
        worker_id = _register(connection)
        _silence(connection, worker_id, seconds=25)
        assert [worker.state for worker in list_workers(connection)] == ["alive"]
        _silence(connection, worker_id, seconds=31)
        assert [worker.state for worker in list_workers(connection)] == ["died"]
        assert count_active_workers(connection) == 0


def test_the_gone_are_listed_for_an_hour_after_the_living(engine: Engine) -> None:
    with engine.begin() as connection:
        add_worker(connection, "celery@b", seen_at=ago(minutes=59))
        add_worker(connection, "celery@a", seen_at=ago(minutes=61))
        add_worker(connection, "celery@c", stopped_at=ago(minutes=1), seen_at=ago(minutes=1))
        add_worker(connection, "celery@d")
        listed = [(worker.name, worker.state) for worker in list_workers(connection)]
        of_two_hours = list_workers(connection, since=timedelta(hours=2))
    assert listed == [("celery@d", "alive"), ("celery@b", "died"), ("celery@c", "stopped")]
    assert len(of_two_hours) == 4


def test_the_living_are_counted_by_the_queues_that_they_serve(engine: Engine) -> None:
    with engine.begin() as connection:
        add_worker(connection)
        add_worker(connection, queues=["scheduled"])
        add_worker(connection, seen_at=ago(minutes=1))
        assert count_active_workers(connection) == 2
        assert sorted(list_served_queues(connection)) == [["celery", "scheduled", "alerts"], ["scheduled"]]


def test_the_condition_can_stand_in_any_statement(engine: Engine) -> None:
    with engine.begin() as connection:
        alive = add_worker(connection)
        add_worker(connection, seen_at=ago(minutes=1))
        assert connection.scalars(select(Worker.id).where(text(ALIVE))).all() == [alive]


def test_workers_of_long_ago_are_forgotten_when_one_starts(engine: Engine) -> None:
    with engine.begin() as connection:
        add_worker(connection, seen_at=ago(days=89))
        add_worker(connection, seen_at=ago(days=91))
        _register(connection)
        forget_workers(connection)
        assert connection.scalar(select(func.count()).select_from(Worker)) == 2
