"""What the broker knows of the messages that a worker holds, and of those that have ended."""

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from kombu import Connection, Queue
from kombu.asynchronous import Hub, get_event_loop, set_event_loop

from tests.conftest import worker_broker
from watcher_server.tasking.sending.broker import celery_broker, redis_client
from watcher_server.tasking.workers import messages


@pytest.fixture
def broker_url(worker_id: str) -> str:
    return worker_broker(worker_id, 2)


@pytest.fixture
def broker(broker_url: str) -> "Iterator[redis.Redis]":
    with redis_client(broker_url) as client:
        client.flushdb()
        yield client


@pytest.fixture
def queue(broker: "redis.Redis", broker_url: str) -> Iterator[Queue]:
    """A queue with two messages, as a worker reads it."""
    messages.install()
    with Connection(celery_broker(broker_url)["broker_url"]) as connection:
        bound = Queue("things", exchange="things", routing_key="things", channel=connection.channel())
        bound.declare()
        producer = connection.Producer()
        for number in (1, 2):
            producer.publish({"number": number}, exchange="things", routing_key="things")
        yield bound


@pytest.fixture
def hub() -> Iterator[Hub]:
    """The event loop of a worker."""
    before, hub = get_event_loop(), Hub()
    set_event_loop(hub)
    yield hub
    set_event_loop(before)
    hub.close()


def held(broker: Any) -> set[str]:
    """The tags of the messages that workers hold, of which both records say the same."""
    tags = {tag.decode() for tag in broker.hkeys("unacked")}
    assert {tag.decode() for tag in broker.zrange("unacked_index", 0, -1)} == tags
    return tags


def test_a_message_is_held_until_it_is_acknowledged(queue: Queue, broker: "redis.Redis") -> None:
    message = queue.get()
    assert message is not None
    assert held(broker) == {message.delivery_tag}

    message.ack()
    assert held(broker) == set()


def test_an_end_is_told_with_the_next_message(queue: Queue, broker: "redis.Redis", hub: Hub) -> None:
    first = queue.get()
    assert first is not None
    first.ack()
    second = queue.get()

    assert second is not None
    assert held(broker) == {second.delivery_tag}


def test_an_end_without_a_next_message_is_told_by_the_clock(queue: Queue, broker: "redis.Redis", hub: Hub) -> None:
    message = queue.get()
    assert message is not None
    message.ack()
    while held(broker):
        hub.run_once()


def test_a_channel_that_closes_tells_the_ends_and_gives_back_the_rest(
    queue: Queue, broker: "redis.Redis", hub: Hub
) -> None:
    first, second = queue.get(), queue.get()
    assert first is not None
    assert second is not None
    first.ack()

    channel: Any = queue.channel
    channel.close()

    assert held(broker) == set()
    assert broker.llen("things") == 1


def test_an_end_is_told_although_the_connection_was_cut(queue: Queue, broker: "redis.Redis") -> None:
    message = queue.get()
    assert message is not None
    broker.client_kill_filter(_type="normal", skipme=True)

    message.ack()

    assert held(broker) == set()
