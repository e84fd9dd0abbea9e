"""The relay publishes what was committed, at least once, and loses nothing."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
from celery import Celery
from sqlalchemy import Engine, text

from tests.support.live import wait_until
from watcher_server.queueing.configuration import broker_configuration
from watcher_server.queueing.outbox import enqueue
from watcher_server.queueing.relay import Relay, publish_batch
from watcher_server.settings import Settings, load_settings


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
    messages = []
    with app.connection_for_read() as connection, connection.SimpleQueue(queue) as simple, suppress(simple.Empty):
        while True:
            message = simple.get_nowait()
            messages.append((message.headers["task"], message.payload[1]))
            message.ack()
    return messages


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
            publish_batch(connection, broker, producer)

    assert left(engine) == 3


def test_it_goes_on_after_its_connection_is_cut(engine: Engine, settings: Settings, broker: Celery) -> None:
    with running(settings):
        wait_until(lambda: relays(engine) == 1, "the relay connecting")
        with engine.begin() as connection:
            connection.execute(text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {RELAY}"))
        fill(engine, 2)
        wait_until(lambda: left(engine) == 0, "the outbox emptying")

    assert len(received(broker)) == 2
