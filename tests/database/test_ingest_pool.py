"""The connections for what pipelines send with each run, on a real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from psycopg.errors import DivisionByZero
from psycopg.types.json import Jsonb
from psycopg_pool import PoolTimeout

from watcher_server.database.engine import create_ingest_pool
from watcher_server.database.ingest_pool import IngestPool
from watcher_server.database.statements import numbered
from watcher_server.settings import load_settings

ONE = numbered("SELECT %(number)s::bigint")
SLEEP = numbered("SELECT %(number)s::bigint, pg_sleep(60)")
DIVIDE = numbered("SELECT 1 / %(number)s::bigint")
ECHO = numbered("""
    SELECT %(number)s::bigint, %(text)s::text, %(flag)s::boolean, %(moment)s::timestamptz, %(json)s::jsonb,
        %(texts)s::text[], %(numbers)s::bigint[], %(raw)s::bytea, %(raws)s::bytea[], %(none)s::text[]
""")
NOTHING = numbered("SELECT 1 WHERE %(flag)s::boolean")


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[IngestPool]:
    """A pool of one connection."""
    async with create_ingest_pool(load_settings(database_url=database_url, ingest_pool_size=1)) as pool:
        yield pool


@pytest.mark.parametrize(
    "values",
    [
        {
            "number": 2**62,
            "text": "naïve, {\"quoted\"} \\ 'text'",
            "flag": True,
            "moment": datetime(2024, 2, 29, 23, 59, 59, 123456, UTC),
            "json": Jsonb({"a": [1, None, "ü"]}),
            "texts": ["a,b", '"', "", "NULL"],
            "numbers": [1, -(2**62)],
            "raw": b"\x00\\x41\xff",
            "raws": [b"\x00", b"", b'",}'],
            "none": [],
        },
        dict.fromkeys(ECHO.names),
    ],
)
async def test_values_come_back_as_they_were_sent(pool: IngestPool, values: dict[str, object]) -> None:
    expected = [value.obj if isinstance(value, Jsonb) else value for value in values.values()]

    for _ in range(2):
        async with pool.connection() as connection:
            assert list(await ECHO.fetch_one(connection, values) or ()) == expected
            assert await NOTHING.fetch_one(connection, {"flag": False}) is None


async def test_a_statement_that_fails_leaves_its_connection_to_the_next(pool: IngestPool) -> None:
    for _ in range(2):
        with pytest.raises(DivisionByZero):
            async with pool.connection() as connection:
                await DIVIDE.fetch_one(connection, {"number": 0})

    async with pool.connection() as connection:
        assert await ONE.fetch_one(connection, {"number": 7}) == (7,)


async def test_who_waits_longest_is_next(pool: IngestPool) -> None:
    served = []

    async def ask(number: int) -> None:
        async with pool.connection() as connection:
            served.append(await ONE.fetch_one(connection, {"number": number}))

    async with pool.connection():
        waiting = [asyncio.create_task(ask(number)) for number in range(5)]
        while pool.get_stats()["requests_waiting"] < len(waiting):  # noqa: ASYNC110 - the pool has no event
            await asyncio.sleep(0)
        # One gives up, and takes nobody's turn.
        waiting.pop(2).cancel()
    await asyncio.gather(*waiting)

    assert served == [(0,), (1,), (3,), (4,)]
    assert pool.get_stats().get("requests_waiting", 0) == 0


async def test_who_waits_too_long_is_told_so(pool: IngestPool) -> None:
    async with pool.connection():
        with pytest.raises(PoolTimeout):
            async with pool.connection(0.05):
                pass

    assert pool.get_stats()["requests_errors"] == 1
    async with pool.connection() as connection:
        assert await ONE.fetch_one(connection, {"number": 7}) == (7,)


async def test_the_answer_to_a_request_that_was_given_up_goes_to_nobody(pool: IngestPool) -> None:
    async def sleep() -> None:
        async with pool.connection() as connection:
            await SLEEP.fetch_one(connection, {"number": 1})

    async with pool.connection() as connection:
        await ONE.fetch_one(connection, {"number": 1})
    sleeping = asyncio.create_task(sleep())
    await asyncio.sleep(0.2)
    sleeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sleeping

    async with pool.connection() as connection:
        assert await ONE.fetch_one(connection, {"number": 7}) == (7,)
