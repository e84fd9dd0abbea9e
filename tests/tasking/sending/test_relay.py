"""The relay publishes what was committed, at least once, and loses nothing."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from celery import Celery
from sqlalchemy import Engine, text

from tests.support import queues
from tests.support.calling import messages
from tests.support.live import wait_until
from tests.support.rows import now
from watcher_server.settings import Settings, load_settings
from watcher_server.tasking.limits.pacing import Pacer
from watcher_server.tasking.sending.broker import redis_client
from watcher_server.tasking.sending.configuration import broker_configuration
from watcher_server.tasking.sending.outbox import enqueue
from watcher_server.tasking.sending.publishing import MOST_IN_FLIGHT, publish
from watcher_server.tasking.sending.relay import Relay


@pytest.fixture
def settings(engine: Engine, database_url: str, broker_url: str) -> Settings:
    return load_settings(database_url=database_url, broker_url=broker_url)


@pytest.fixture
def broker(settings: Settings) -> Iterator[Celery]:
    """An application on the test's broker, with empty queues."""
    with Celery("test", set_as_current=False) as app:
        app.conf.update(broker_configuration(settings))
        app.control.purge()
        yield app
        app.control.purge()


@contextmanager
def running(settings: Settings) -> Iterator[Relay]:
    relay = Relay(settings)
    relay.start()
    try:
        yield relay
    finally:
        relay.stop()


def received(app: Celery, queue: str = "celery") -> list[tuple[str, object]]:
    """(task, kwargs) of every message in the queue, in order; they are taken out."""
    return [(message.headers["task"], message.payload[1]) for message in messages(app, queue)]


def left(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(text("SELECT count(*) FROM outbox")) or 0)


RELAY = "datname = current_database() AND application_name = 'watcher relay'"


def relays(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(text(f"SELECT count(*) FROM pg_stat_activity WHERE {RELAY}")) or 0)


def fill(engine: Engine, count: int) -> None:
    with engine.begin() as connection:
        for number in range(count):
            enqueue(connection, "some_task", number=number)


def test_messages_are_published_in_order_and_deleted(engine: Engine, settings: Settings, broker: Celery) -> None:
    fill(engine, 450)

    with running(settings):
        wait_until(lambda: left(engine) == 0, "the outbox emptying")

    assert received(broker) == [("some_task", {"number": number}) for number in range(450)]


def test_a_message_goes_to_its_queue(engine: Engine, settings: Settings, broker: Celery) -> None:
    with engine.begin() as connection:
        enqueue(connection, "some_task", "scheduled", number=1)

    with running(settings):
        wait_until(lambda: left(engine) == 0, "the outbox emptying")

    assert received(broker, "scheduled") == [("some_task", {"number": 1})]


def test_several_relays_publish_each_message_once(engine: Engine, settings: Settings, broker: Celery) -> None:
    fill(engine, 1000)

    with running(settings), running(settings), running(settings):
        wait_until(lambda: left(engine) == 0, "the outbox emptying")

    numbers = [kwargs["number"] for _, kwargs in received(broker)]  # type: ignore[index]
    assert sorted(numbers) == list(range(1000))


def test_what_is_not_committed_is_not_published(engine: Engine, settings: Settings, broker: Celery) -> None:
    with running(settings) as relay, engine.connect() as connection:
        enqueue(connection, "some_task", number=1)
        relay.wake()
        fill(engine, 1)
        relay.wake()
        wait_until(lambda: left(engine) == 0, "the committed message going out")
        connection.rollback()

    assert len(received(broker)) == 1


def test_without_a_broker_messages_stay_and_the_relay_still_stops(
    engine: Engine, settings: Settings, tmp_path: Path
) -> None:
    fill(engine, 3)
    relay = Relay(load_settings(database_url=settings.database, broker_url=f"redis+socket://{tmp_path}/none"))

    relay.start()
    threading.Event().wait(1)
    relay.stop()

    assert left(engine) == 3


def test_a_batch_that_the_broker_did_not_take_stays(
    engine: Engine, settings: Settings, broker: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(engine, 3)

    @contextmanager
    def cut_off() -> Iterator[None]:
        yield
        raise ConnectionError

    with (
        psycopg.connect(settings.database, autocommit=True) as connection,
        broker.producer_pool.acquire(block=True) as producer,
    ):
        monkeypatch.setattr(producer, "batch", cut_off)
        with pytest.raises(ConnectionError):
            publish(connection, broker, producer, {"some_task": 3})

    assert left(engine) == 3


def test_it_goes_on_after_its_connection_is_cut(engine: Engine, settings: Settings, broker: Celery) -> None:
    with running(settings):
        wait_until(lambda: relays(engine) == 1, "the relay connecting")
        with engine.begin() as connection:
            connection.execute(text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {RELAY}"))
        fill(engine, 2)
        wait_until(lambda: left(engine) == 0, "the outbox emptying")

    assert len(received(broker)) == 2


def test_it_goes_on_after_the_broker_cuts_its_connections(engine: Engine, settings: Settings, broker: Celery) -> None:
    with running(settings), redis_client(settings.broker) as client:
        fill(engine, 1)
        wait_until(lambda: left(engine) == 0, "the first message going out")
        database = client.client_info()["db"]
        for other in client.client_list():
            if int(other["db"]) == database and int(other["id"]) != client.client_id():
                client.client_kill_filter(_id=other["id"])
        fill(engine, 2)
        wait_until(lambda: left(engine) == 0, "the outbox emptying")

    assert len(received(broker)) == 3


def test_what_is_due_later_is_sent_when_it_is(engine: Engine, settings: Settings, broker: Celery) -> None:
    with engine.begin() as connection:
        queues.add_waiting(connection, 1, "some_task", kwargs={"number": 2}, due_at=now() + timedelta(seconds=1.5))
        queues.add_waiting(connection, 1, "some_task", kwargs={"number": 3}, due_at=now() + timedelta(hours=1))
        queues.add_waiting(connection, 1, "some_task", kwargs={"number": 1})

    with running(settings):
        wait_until(lambda: left(engine) == 1, "what is due going out")
        waited = "SELECT published_at - created_at FROM task WHERE kwargs ->> 'number' = '2'"
        with engine.connect() as connection:
            assert connection.execute(text(waited)).scalar_one() > timedelta(seconds=1)

    assert [kwargs["number"] for _, kwargs in received(broker)] == [1, 2]  # type: ignore[index]


def test_the_broker_stays_shallow(engine: Engine, settings: Settings, broker: Celery) -> None:
    with engine.begin() as connection:
        queues.add_waiting(connection, MOST_IN_FLIGHT + 500, "some_task")

    with running(settings):
        wait_until(lambda: left(engine) == 500, "the broker being full")
        # Nothing more goes before something is started.
        threading.Event().wait(0.5)
        assert left(engine) == 500
        with engine.begin() as connection:
            started = "SELECT id FROM task LIMIT 300"
            connection.execute(text(f"UPDATE task SET state = 'PROGRESS' WHERE id IN ({started})"))
        wait_until(lambda: left(engine) == 200, "the room being used")

    with redis_client(settings.broker) as client:
        assert client.llen("celery") == MOST_IN_FLIGHT + 300


def test_of_a_limited_task_no_more_than_a_moments_worth_waits_in_the_broker(
    engine: Engine, settings: Settings, broker: Celery
) -> None:
    with engine.begin() as connection:
        queues.add_waiting(connection, 50)

    with running(settings):
        wait_until(lambda: left(engine) == 47, "the first going out")
        threading.Event().wait(0.5)

    assert left(engine) == 47
    assert len(received(broker)) == 3


def test_other_kinds_do_not_wait_behind_a_flood_of_limited_ones(
    engine: Engine, settings: Settings, broker: Celery
) -> None:
    with engine.begin() as connection:
        queues.add_waiting(connection, 3000)

    with running(settings):
        wait_until(lambda: left(engine) < 3000, "the flood flowing")
        fill(engine, 250)
        with engine.begin() as connection:
            queues.add_waiting(connection, 1, queues.FRESHNESS)
        others = "SELECT count(*) FROM outbox WHERE task_name <> 'detect_anomalies_task'"
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            wait_until(lambda: connection.scalar(text(others)) == 0, "the others going out")
        assert left(engine) > 2900

    names = [name for name, _ in received(broker)]
    assert (names.count("some_task"), names.count(queues.FRESHNESS)) == (250, 1)


def test_what_another_relay_holds_keeps_nothing_else_back(engine: Engine, settings: Settings, broker: Celery) -> None:
    fill(engine, 5)

    with engine.connect() as holder, running(settings):
        holder.execute(text("SELECT FROM outbox ORDER BY id LIMIT 2 FOR UPDATE"))
        wait_until(lambda: left(engine) == 2, "what nobody holds going out")
        holder.rollback()
        wait_until(lambda: left(engine) == 0, "the rest going out")

    numbers = [kwargs["number"] for _, kwargs in received(broker)]  # type: ignore[index]
    assert sorted(numbers) == list(range(5))


def test_a_message_that_cannot_be_sent_does_not_stop_the_others(
    engine: Engine, settings: Settings, broker: Celery
) -> None:
    with engine.begin() as connection:
        queues.add_waiting(connection, 1, "bad_task", options={"expires": "soon"})
        connection.execute(
            text("INSERT INTO outbox (task_name, kwargs) VALUES ('address_lineage_closure_rebuild_task', '[]')")
        )
    fill(engine, 3)

    with running(settings):
        wait_until(lambda: left(engine) == 0, "the outbox emptying")

    assert [name for name, _ in received(broker)] == ["some_task"] * 3


def test_a_relay_that_waits_for_a_silent_database_can_be_stopped(engine: Engine, settings: Settings) -> None:
    relay = Relay(load_settings(database_url="postgresql://127.0.0.1:1/none", broker_url=settings.broker))
    relay.start()
    threading.Event().wait(0.3)
    relay.stop()

    assert relays(engine) == 0


def test_rights_to_start_that_it_took_and_did_not_use_go_back(
    engine: Engine, settings: Settings, broker: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of three messages are held by another relay, which has taken the rights to start them already."""
    limited = settings.model_copy(update={"detect_anomalies_rate_limit": "30/s"})
    returned: list[tuple[str, int, float]] = []
    give_back = Pacer.give_back

    def note(pacer: Pacer, *rights: Any) -> None:
        returned.append(rights)
        give_back(pacer, *rights)

    monkeypatch.setattr(Pacer, "give_back", note)
    with engine.begin() as connection:
        queues.add_waiting(connection, 3)
    with redis_client(settings.broker) as client:
        client.delete(f"watcher:rate:{queues.DETECT}")
    relay = Relay(limited)
    with (
        engine.connect() as other,
        psycopg.connect(settings.database, autocommit=True) as connection_of_relay,
        broker.producer_pool.acquire(block=True) as producer,
    ):
        other.execute(text("SELECT FROM outbox ORDER BY id DESC LIMIT 2 FOR UPDATE"))
        relay.publish_due(connection_of_relay, producer)
        assert returned == [(queues.DETECT, 2, 30.0)]

        other.rollback()
        relay.publish_due(connection_of_relay, producer)
        assert len(returned) == 1, "rights were returned that were used"
    relay.stop()
    assert len(received(broker)) == 3
