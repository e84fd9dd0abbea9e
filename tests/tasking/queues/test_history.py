"""How deep the queues were over the last hours."""

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import httpx
import pytest
from celery import Celery
from sqlalchemy import Connection, Engine, insert, text

from tests.conftest import MakeClient
from tests.support.queues import DETECT, add_waiting
from tests.support.rows import ago, now
from watcher_server.settings import load_settings
from watcher_server.tasking.models import QueueDepthSample
from watcher_server.tasking.queues.depths import measure_queues
from watcher_server.tasking.queues.history import start_of_minute, store_samples

AWAY = "redis://127.0.0.1:1/0"
SERIES = {"pending", "ready", "unacknowledged", "scheduled", "outbox_pending", "oldest_seconds"}


def _store(connection: Connection, moment: datetime | None = None, **settings: object) -> None:
    store_samples(connection, measure_queues(connection, load_settings(**settings)), moment or now())


def _add_sample(connection: Connection, moment: datetime, **fields: Any) -> None:
    """Of the main queue, with nothing in it unless the fields say otherwise."""
    numbers = {"ready": 0, "unacknowledged": 0, "scheduled": 0, "outbox_pending": 0, "oldest_seconds": 0.0}
    values = {"sampled_at": start_of_minute(moment), "queue": "celery", **numbers, **fields}
    connection.execute(insert(QueueDepthSample), values)


async def _read(client: httpx.AsyncClient, hours: int | None = None) -> dict[str, Any]:
    answer = await client.get("/queues/history", params={} if hours is None else {"hours": hours})
    assert answer.status_code == 200
    report: dict[str, Any] = answer.json()
    return report


async def _read_around(client: httpx.AsyncClient, moment: datetime, hours: int = 1) -> dict[str, Any]:
    """What each series of the main queue says of a moment."""
    report = await _read(client, hours)
    place = sum(sampled_at <= moment.timestamp() for sampled_at in report["sampled_at"]) - 1
    return {name: values[place] for name, values in report["queues"]["celery"].items()}


async def test_before_the_first_sample_there_are_moments_and_thresholds_and_no_queue(make_client: MakeClient) -> None:
    async with make_client(queue_alert_info=5, queue_alert_warning=6, queue_alert_critical=7) as client:
        report = await _read(client)

    assert report["queues"] == {}
    assert report["thresholds"] == {"info": 5, "warning": 6, "critical": 7}
    assert len(report["sampled_at"]) == 360


async def test_a_sample_says_what_was_in_the_queue(
    client: httpx.AsyncClient, engine: Engine, publisher: Celery
) -> None:
    moment = ago(minutes=5)
    publisher.send_task(DETECT)
    with engine.begin() as connection:
        add_waiting(connection, 4, due_at=ago(minutes=2))
        add_waiting(connection, 3, due_at=ago(days=-1))
        _store(connection, moment)

    found = await _read_around(client, moment)

    assert found.pop("oldest_seconds") == pytest.approx(120, abs=30)
    assert found == {"pending": 5, "ready": 1, "unacknowledged": 0, "scheduled": 3, "outbox_pending": 4}


@pytest.mark.usefixtures("valkey")
async def test_a_queue_with_nothing_in_it_is_zero_and_not_a_gap(client: httpx.AsyncClient, engine: Engine) -> None:
    moment = ago(minutes=5)
    with engine.begin() as connection:
        _store(connection, moment)

    assert await _read_around(client, moment) == dict.fromkeys(SERIES, 0)


async def test_while_the_broker_is_away_its_numbers_are_a_gap_and_the_outbox_is_known(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    moment = ago(minutes=5)
    with engine.begin() as connection:
        add_waiting(connection, 25, due_at=ago(minutes=2))
        _store(connection, moment, broker_url=AWAY)

    found = await _read_around(client, moment)

    assert found.pop("oldest_seconds") == pytest.approx(120, abs=30)
    assert found == {"pending": None, "ready": None, "unacknowledged": None, "scheduled": 0, "outbox_pending": 25}


async def test_a_minute_in_which_nobody_measured_is_a_gap(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        moment = ago(minutes=5)
        _add_sample(connection, moment, outbox_pending=7)
        _add_sample(connection, moment + timedelta(minutes=2), outbox_pending=8)

    pending = (await _read(client, hours=1))["queues"]["celery"]["pending"]

    first = pending.index(7)
    assert pending[first - 1 : first + 4] == [None, 7, None, 8, None]


@pytest.mark.parametrize(
    ("hours", "points", "minutes"), [(1, 60, 1), (6, 360, 1), (7, 210, 2), (24, 360, 4), (43, 323, 8), (168, 360, 28)]
)
async def test_the_moments_cover_the_hours_with_at_most_360_points(
    client: httpx.AsyncClient, engine: Engine, hours: int, points: int, minutes: int
) -> None:
    with engine.begin() as connection:
        _add_sample(connection, now())

    report = await _read(client, hours)

    moments = report["sampled_at"]
    assert len(moments) == points
    assert {after - before for before, after in pairwise(moments)} == {60 * minutes}
    assert moments[-1] <= now().timestamp() < moments[-1] + 60 * minutes + 5
    assert {len(values) for values in report["queues"]["celery"].values()} == {points}
    assert set(report["queues"]["celery"]) == SERIES


async def test_of_the_samples_between_two_moments_the_highest_is_shown(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    with engine.begin() as connection:
        # 28 minutes of a week's chart, of which in one the broker was away.
        start = datetime.fromtimestamp((ago(days=1).timestamp() // 1680) * 1680, tz=now().tzinfo)
        _add_sample(connection, start, ready=10, oldest_seconds=3.5)
        _add_sample(connection, start + timedelta(minutes=1), ready=4, outbox_pending=90, scheduled=2)
        _add_sample(connection, start + timedelta(minutes=27), ready=None, unacknowledged=None, outbox_pending=95)
        _add_sample(connection, start + timedelta(minutes=28), ready=1_000)

    found = await _read_around(client, start, hours=168)

    assert (found["pending"], found["ready"], found["outbox_pending"]) == (94, 10, 95)
    assert (found["scheduled"], found["oldest_seconds"], found["unacknowledged"]) == (2, 3.5, 0)


@pytest.mark.usefixtures("valkey")
async def test_watchers_own_queues_come_first(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        add_waiting(connection, 1, queue="backfill")
        _store(connection)

    assert list((await _read(client))["queues"]) == ["celery", "scheduled", "alerts", "backfill"]


@pytest.mark.usefixtures("valkey")
def test_of_two_who_sample_the_same_minute_one_writes(engine: Engine) -> None:
    moment = start_of_minute(now())
    for waiting, second in ((3, 1), (4, 59)):
        with engine.begin() as connection:
            add_waiting(connection, waiting)
            _store(connection, moment.replace(second=second))

    with engine.connect() as connection:
        rows = connection.execute(
            text("SELECT sampled_at, queue, outbox_pending FROM queue_depth_sample ORDER BY queue")
        )
        assert [tuple(row) for row in rows] == [(moment, "alerts", 0), (moment, "celery", 3), (moment, "scheduled", 0)]


@pytest.mark.usefixtures("valkey")
def test_samples_of_more_than_a_week_ago_are_forgotten(engine: Engine) -> None:
    moment = start_of_minute(now())
    oldest = moment - timedelta(days=7)
    with engine.begin() as connection:
        for before in (oldest - timedelta(days=30), oldest - timedelta(minutes=1), oldest):
            _add_sample(connection, before)
        _store(connection, moment)

    with engine.connect() as connection:
        kept = connection.scalars(text("SELECT DISTINCT sampled_at FROM queue_depth_sample ORDER BY sampled_at"))
        assert kept.all() == [oldest, moment]


@pytest.mark.parametrize("hours", ["0", "169", "-1", "1.5", "a week"])
async def test_other_hours_than_those_that_are_kept_are_refused(client: httpx.AsyncClient, hours: str) -> None:
    assert (await client.get("/queues/history", params={"hours": hours})).status_code == 422


async def test_without_a_database_the_answer_is_503(make_client: MakeClient) -> None:
    async with make_client(database_url="postgresql://nobody@127.0.0.1:1/none") as client:
        answer = await client.get("/queues/history")
    assert answer.status_code == 503
