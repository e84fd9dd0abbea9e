"""One supply of tokens for everybody, on the real broker and by its clock.

Time is made to pass by moving what the broker has stored into the past.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
import redis

from tests.embedded.homes import temporary_home
from watcher_server.embedded.services import EmbeddedServices
from watcher_server.tasking.limits.pacing import Demand, Grant, Pacer
from watcher_server.tasking.sending.broker import redis_client

TASK = "detect_anomalies_task"
KEY = f"watcher:rate:{TASK}"
ONE_AN_HOUR = 1 / 3600


@pytest.fixture
def broker(broker_url: str) -> Iterator["redis.Redis"]:
    with redis_client(broker_url) as client:
        client.flushdb()
        yield client
        client.flushdb()


@pytest.fixture
def pacer(broker: "redis.Redis", broker_url: str) -> Iterator[Pacer]:
    assert broker.ping()
    with closing(Pacer(broker_url)) as pacer:
        yield pacer


def take(pacer: Pacer, wanted: int, per_second: float) -> Grant:
    return pacer.take({TASK: Demand(wanted, per_second)})[TASK]


def stored(broker: "redis.Redis") -> int:
    value: Any = broker.get(KEY)
    return int(value)


def let_pass(broker: "redis.Redis", seconds: float) -> None:
    broker.set(KEY, stored(broker) - round(seconds * 1e6), keepttl=True)


def now(broker: "redis.Redis") -> float:
    clock: Any = broker.time()
    seconds, microseconds = clock
    return float(seconds + microseconds / 1e6)


def test_at_once_only_a_tenth_of_a_second_and_one_are_granted(pacer: Pacer) -> None:
    assert take(pacer, 500, 1000).granted == 101


def test_an_idle_time_gives_no_more_than_that(pacer: Pacer, broker: "redis.Redis") -> None:
    take(pacer, 1, 1000)
    let_pass(broker, 3600)

    assert take(pacer, 500, 1000).granted == 101


def test_less_is_granted_when_less_is_wanted_and_the_rest_stays(pacer: Pacer) -> None:
    first = take(pacer, 60, 1000)

    assert first == Grant(60, 0)
    assert 41 <= take(pacer, 500, 1000).granted < 500


def test_whoever_gets_less_than_wanted_is_told_when_there_is_more(pacer: Pacer, broker: "redis.Redis") -> None:
    first, second = take(pacer, 5, ONE_AN_HOUR), take(pacer, 5, ONE_AN_HOUR)

    assert (first.granted, second.granted) == (1, 0)
    assert 3590 < second.wait_seconds <= first.wait_seconds <= 3600
    let_pass(broker, second.wait_seconds)
    assert take(pacer, 5, ONE_AN_HOUR).granted == 1


def test_asking_for_none_tells_when_and_takes_nothing(pacer: Pacer) -> None:
    assert take(pacer, 0, ONE_AN_HOUR) == Grant(0, 0)
    assert take(pacer, 1, ONE_AN_HOUR).granted == 1
    assert 3590 < take(pacer, 0, ONE_AN_HOUR).wait_seconds <= 3600


@pytest.mark.parametrize("per_second", [0.5, 1, 15, 1000 / 3, 70_000])
def test_whoever_asks_within_a_tenth_of_a_second_loses_no_rate(
    pacer: Pacer, broker: "redis.Redis", per_second: float
) -> None:
    steps, step_seconds = 300, 0.09
    began = now(broker)
    granted = take(pacer, 100_000, per_second).granted
    for _ in range(steps):
        let_pass(broker, step_seconds)
        granted += take(pacer, 100_000, per_second).granted
    passed = steps * step_seconds

    assert granted >= int(passed * per_second)
    assert granted <= (passed + now(broker) - began + 0.1) * per_second + 1


def test_each_task_has_its_own_rate_in_one_call(pacer: Pacer) -> None:
    demands = {"slow": Demand(10, ONE_AN_HOUR), "fast": Demand(10, 1000), "asking": Demand(0, 1)}

    grants = pacer.take(demands)

    assert {task: grant.granted for task, grant in grants.items()} == {"slow": 1, "fast": 10, "asking": 0}
    assert pacer.take({}) == {}


def test_several_processes_share_one_rate(broker: "redis.Redis", broker_url: str) -> None:
    per_second, wanted = 100, 40

    def take_until(deadline: float) -> int:
        total = 0
        with closing(Pacer(broker_url)) as pacer:
            while total < wanted and time.monotonic() < deadline:
                grant = take(pacer, 3, per_second)
                total += grant.granted
                time.sleep(min(grant.wait_seconds, 0.1))
        return total

    began = now(broker)
    with ThreadPoolExecutor(3) as threads:
        taken = sum(threads.map(take_until, [time.monotonic() + 20] * 3))

    assert taken >= 3 * wanted
    assert taken <= (now(broker) - began + 0.1) * per_second + 1


def test_one_pacer_serves_several_threads(pacer: Pacer) -> None:
    with ThreadPoolExecutor(4) as threads:
        granted = threads.map(lambda _: take(pacer, 1, ONE_AN_HOUR).granted, range(40))

    assert sum(granted) == 1


def test_a_broker_that_forgot_everything_is_no_matter(pacer: Pacer, broker: "redis.Redis") -> None:
    assert take(pacer, 1, ONE_AN_HOUR).granted == 1
    broker.flushdb()
    broker.script_flush()

    assert take(pacer, 5, ONE_AN_HOUR).granted == 1
    broker.script_flush()
    pacer.give_back(TASK, 1, ONE_AN_HOUR)
    assert take(pacer, 5, ONE_AN_HOUR).granted == 1


def test_after_a_restart_of_the_broker_it_goes_on() -> None:
    with temporary_home() as home, EmbeddedServices(home, postgres=False) as services:
        (valkey,) = services.engines
        with closing(Pacer(services.broker_url)) as pacer:
            assert take(pacer, 5, ONE_AN_HOUR).granted == 1
            valkey.stop()
            with pytest.raises(redis.ConnectionError):
                take(pacer, 5, ONE_AN_HOUR)
            valkey.start()
            # What was taken before is not forgotten: the broker had written it down.
            assert take(pacer, 5, ONE_AN_HOUR).granted == 0
            assert take(pacer, 5, 1_000_000).granted <= 1


@pytest.mark.parametrize("seconds", [4, 86_400])
def test_a_clock_that_was_ahead_holds_nothing_up(pacer: Pacer, broker: "redis.Redis", seconds: float) -> None:
    broker.set(KEY, round((now(broker) + seconds) * 1e6))

    assert take(pacer, 5, 1) == Grant(0, 1.0)
    # That is stored, and does not stay a second away for ever.
    let_pass(broker, 1)
    assert take(pacer, 5, 1).granted == 1


def test_a_limit_that_is_raised_holds_at_once(pacer: Pacer) -> None:
    take(pacer, 1, ONE_AN_HOUR)

    assert take(pacer, 1, 10).wait_seconds <= 0.1


def test_a_limit_that_is_lowered_holds_from_the_next_one_on(pacer: Pacer, broker: "redis.Redis") -> None:
    take(pacer, 500, 1000)
    let_pass(broker, 60)

    grant = take(pacer, 500, ONE_AN_HOUR)

    assert grant.granted == 1
    assert grant.wait_seconds > 3590


def test_what_is_given_back_is_granted_again(pacer: Pacer) -> None:
    assert take(pacer, 101, 1000).granted == 101
    pacer.give_back(TASK, 50, 1000)

    assert 50 <= take(pacer, 500, 1000).granted < 500


def test_giving_back_makes_no_burst(pacer: Pacer, broker: "redis.Redis") -> None:
    pacer.give_back(TASK, 1_000_000, 1000)
    assert broker.exists(KEY) == 0
    take(pacer, 1, 1000)
    pacer.give_back(TASK, 1_000_000, 1000)

    assert take(pacer, 500, 1000).granted == 101


@pytest.mark.parametrize("per_second", [1e-300, ONE_AN_HOUR, 100_000])
def test_what_is_stored_outlives_its_use_and_no_more(pacer: Pacer, broker: "redis.Redis", per_second: float) -> None:
    wait = take(pacer, 1, per_second).wait_seconds

    ttl: Any = broker.ttl(KEY)
    assert wait < ttl <= wait + 61
    pacer.give_back(TASK, 1, per_second)
    assert 0 < int(str(broker.ttl(KEY))) <= ttl


def test_nonsense_in_the_broker_counts_as_idle(pacer: Pacer, broker: "redis.Redis") -> None:
    broker.set(KEY, "soon")

    pacer.give_back(TASK, 1, 1000)
    assert take(pacer, 500, 1000).granted == 101


def test_without_a_broker_it_says_so() -> None:
    with closing(Pacer("redis://127.0.0.1:1/0")) as pacer, pytest.raises(redis.ConnectionError):
        take(pacer, 1, 1)
