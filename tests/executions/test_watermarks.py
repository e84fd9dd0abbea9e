"""Which run's watermark a pipeline keeps, in whatever order runs end."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb
from sqlalchemy import Engine, text

from tests.support.factories import START, end, make_pipeline, start
from tests.support.live import wait_until
from tests.support.rows import add_pipeline
from watcher_server.executions.statements import END_RARE_STATEMENT

Connection = psycopg.Connection[tuple[Any, ...]]

LATER = START + timedelta(hours=1)


async def _watermark(client: httpx.AsyncClient, pipeline_id: int) -> str | None:
    found: str | None = (await client.get(f"/pipeline/{pipeline_id}")).json()["watermark"]
    return found


async def _run(client: httpx.AsyncClient, pipeline_id: int, at: datetime, **fields: Any) -> None:
    await end(client, await start(client, pipeline_id, at, **fields), at + timedelta(minutes=5))


async def test_an_older_run_that_ends_late_does_not_turn_the_watermark_back(client: httpx.AsyncClient) -> None:
    pipeline_id = await make_pipeline(client)
    older = await start(client, pipeline_id, START, next_watermark="older")
    await _run(client, pipeline_id, LATER, next_watermark="later")

    await end(client, older, LATER + timedelta(hours=1), inserts=1)

    pipeline = (await client.get(f"/pipeline/{pipeline_id}")).json()
    assert pipeline["watermark"] == "later"
    assert pipeline["last_target_insert"] == "2026-03-01T04:00:00Z"


async def test_neither_does_it_with_the_watermark_of_the_pipeline(client: httpx.AsyncClient) -> None:
    pipeline_id = await make_pipeline(client)
    older = await start(client, pipeline_id, START)
    await _run(client, pipeline_id, LATER, next_watermark="later")
    await make_pipeline(client, next_watermark="of the pipeline")

    await end(client, older, LATER)

    assert await _watermark(client, pipeline_id) == "later"


async def test_a_later_run_that_names_no_watermark_leaves_it_to_the_older(client: httpx.AsyncClient) -> None:
    pipeline_id = await make_pipeline(client)
    older = await start(client, pipeline_id, START, next_watermark="older")
    await _run(client, pipeline_id, LATER)

    await end(client, older, LATER)

    assert await _watermark(client, pipeline_id) == "older"


async def test_of_two_that_started_together_the_one_that_ended_last_counts(client: httpx.AsyncClient) -> None:
    pipeline_id = await make_pipeline(client)
    for name in ("first", "second"):
        await _run(client, pipeline_id, START, next_watermark=name)
    assert await _watermark(client, pipeline_id) == "second"


async def test_a_start_in_the_future_does_not_hold_the_watermark_for_ever(client: httpx.AsyncClient) -> None:
    pipeline_id = await make_pipeline(client)
    await _run(client, pipeline_id, datetime.now(UTC) + timedelta(hours=12), next_watermark="mistaken")

    await client.post("/start_pipeline_execution", json={"pipeline_id": pipeline_id, "next_watermark": "right"})
    await client.post("/end_pipeline_execution", json={"id": 2, "completed_successfully": True})

    assert await _watermark(client, pipeline_id) == "right"


async def test_a_run_after_a_watermark_set_by_hand_moves_it_whenever_it_started(client: httpx.AsyncClient) -> None:
    pipeline_id = await make_pipeline(client)
    await _run(client, pipeline_id, LATER, next_watermark="later")
    await client.patch("/pipeline", json={"id": pipeline_id, "watermark": "by hand"})

    await _run(client, pipeline_id, START, next_watermark="backfilled")

    assert await _watermark(client, pipeline_id) == "backfilled"


@dataclass(frozen=True)
class Run:
    """A run that starts so many minutes after the first, and how it ends."""

    minute: int
    success: bool
    next_watermark: bool


_RUNS = st.lists(st.builds(Run, st.integers(0, 5), st.booleans(), st.booleans()), min_size=1, max_size=6)


@given(runs=_RUNS, order=st.randoms(use_true_random=False), own=st.booleans())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_it_is_that_of_the_latest_started_success_at_every_moment(
    engine: Engine, database_url: str, runs: list[Run], order: Any, own: bool
) -> None:
    with engine.begin() as connection:
        pipeline_id = add_pipeline(connection, str(uuid4()), next_watermark="pipeline" if own else None)
    with psycopg.connect(database_url, autocommit=True) as session:
        started = [(_start(session, pipeline_id, number, run), number, run) for number, run in enumerate(runs)]
        order.shuffle(started)
        expected: tuple[int, str | None] = (-1, None)
        for execution_id, number, run in started:
            _end(session, execution_id, success=run.success)
            carried = f"run {number}" if run.next_watermark else "pipeline" if own else None
            if run.success and carried and run.minute >= expected[0]:
                expected = (run.minute, carried)
            row = session.execute("SELECT watermark FROM pipeline WHERE id = %s", [pipeline_id]).fetchone()
            assert row == (expected[1],)


def _start(session: Connection, pipeline_id: int, number: int, run: Run) -> int:
    at = START + timedelta(minutes=run.minute)
    row = session.execute(
        "INSERT INTO pipeline_execution (pipeline_id, start_date, date_recorded, hour_recorded, next_watermark)"
        " VALUES (%s, %s, %s, %s, %s) RETURNING id",
        [pipeline_id, at, at.date(), at.hour, f"run {number}" if run.next_watermark else None],
    ).fetchone()
    assert row
    return int(row[0])


def _end(session: Connection, execution_id: int, *, success: bool = True) -> None:
    parameters: dict[str, Any] = dict.fromkeys(
        ("inserts", "updates", "soft_deletes", "total_rows", "execution_metadata", "context")
    )
    parameters |= {"context": Jsonb({}), "nothing_to_do": False}
    parameters |= {"id": execution_id, "end_date": LATER, "completed_successfully": success}
    assert session.execute(END_RARE_STATEMENT, parameters).fetchone()


@contextmanager
def _uncommitted_end(database_url: str, execution_id: int) -> Iterator[None]:
    """The end of a run that is written, and commits when the block ends."""
    with psycopg.connect(database_url) as session:
        _end(session, execution_id)
        yield


@pytest.mark.parametrize("first", ["older", "later"])
async def test_of_two_ends_at_once_the_later_started_run_counts(
    client: httpx.AsyncClient, engine: Engine, database_url: str, first: str
) -> None:
    pipeline_id = await make_pipeline(client)
    runs = {
        name: await start(client, pipeline_id, at, next_watermark=name)
        for name, at in (("older", START), ("later", START + timedelta(minutes=1)))
    }
    (second,) = set(runs) - {first}

    with _uncommitted_end(database_url, runs[first]):
        waiting = asyncio.create_task(end(client, runs[second], LATER))
        await _until_blocked(engine)

    assert (await waiting).status_code == 204
    assert await _watermark(client, pipeline_id) == "later"


async def _until_blocked(engine: Engine) -> None:
    blocked = text("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")

    def is_blocked() -> bool:
        with engine.connect() as connection:
            return bool(connection.scalar(blocked))

    await asyncio.to_thread(wait_until, is_blocked, "a wait for the other end", 10)


async def test_many_ends_at_once_leave_that_of_the_latest_start(client: httpx.AsyncClient) -> None:
    pipeline_id = await make_pipeline(client)
    runs = [
        await start(client, pipeline_id, START + timedelta(minutes=minute), next_watermark=f"run {minute}")
        for minute in range(20)
    ]

    await asyncio.gather(*(end(client, run, LATER) for run in runs[::-1]))

    assert await _watermark(client, pipeline_id) == "run 19"
