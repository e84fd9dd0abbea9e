"""A pipeline whose last run took too long is well, and says so beside its status."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from tests.support.checks import run_checks
from tests.support.rows import add_pipeline, add_run, ago

FIVE_MINUTES: dict[str, Any] = {"timeliness_number": 5, "timeliness_datepart": "minute"}


def add(engine: Engine, *minutes: int | None, failed: bool = False, **fields: Any) -> None:
    """A pipeline and its runs, one an hour, by how many minutes they took; None is going."""
    with engine.begin() as connection:
        pipeline_id = add_pipeline(connection, **{**FIVE_MINUTES, **fields})
        for hours, took in enumerate(reversed(minutes), start=1):
            start = ago(hours=hours)
            end = None if took is None else start + timedelta(minutes=took)
            succeeded = None if took is None else not failed
            add_run(connection, pipeline_id, start_date=start, end_date=end, completed_successfully=succeeded)
    run_checks(engine)


async def remark(client: httpx.AsyncClient) -> tuple[str, str | None]:
    (listed,) = (await client.get("/pipeline")).json()
    alone = (await client.get("/pipeline/1")).json()
    changed = (await client.patch("/pipeline", json={"id": 1, "fail_after": 1})).json()
    assert listed["remark"] == alone["remark"] == changed["remark"]
    return listed["status"], listed["remark"]


async def test_it_is_ok_but_its_last_run_took_too_long(client: httpx.AsyncClient, engine: Engine) -> None:
    add(engine, 4, 15)

    assert await remark(client) == ("ok", "its last run took 15m of 5 minutes")
    said = "ut its last run took 15m of 5 minutes"
    assert f"B{said}." in (await client.get("/ui/pipelines/1")).text
    assert f"b{said}<" in (await client.get("/ui/pipelines")).text


async def test_the_threshold_may_be_its_types(client: httpx.AsyncClient, engine: Engine) -> None:
    add(engine, 90, timeliness_number=None, timeliness_datepart=None,
        type_fields={"timeliness_number": 1, "timeliness_datepart": "hour"})  # fmt: skip

    assert await remark(client) == ("ok", "its last run took 1h 30m of 1 hour")


@pytest.mark.parametrize(
    ("minutes", "fields"),
    [
        ([15, 4], {}),
        ([5], {}),
        ([15], {"timeliness_number": None, "timeliness_datepart": None}),
        ([15], {"mute_timeliness_check": True}),
        ([15], {"active": False}),
        ([15], {"failed": True}),
        ([], {}),
    ],
    ids=["a quick run since", "just in time", "no threshold", "muted", "paused", "failed", "no run"],
)
async def test_otherwise_nothing_is_to_be_said(
    client: httpx.AsyncClient, engine: Engine, minutes: list[int], fields: dict[str, Any]
) -> None:
    add(engine, *minutes, **fields)

    assert (await remark(client))[1] is None
    assert "ut its last run took" not in (await client.get("/ui/pipelines/1")).text


async def test_it_is_said_of_the_last_run_while_another_is_late(client: httpx.AsyncClient, engine: Engine) -> None:
    add(engine, 15, None)

    assert await remark(client) == ("late", "its last run took 15m of 5 minutes")
    assert "Besides, its last run took 15m of 5 minutes." in (await client.get("/ui/pipelines/1")).text
