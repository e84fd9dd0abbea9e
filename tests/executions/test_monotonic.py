"""A watermark that only rises, and what lower means for numbers, moments and any other text."""

import re
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from tests.support.factories import START, end, make_pipeline, start

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?", re.ASCII)
_DATE = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}(:?[0-9]{2})?)?)?"
)


def _moment(watermark: str) -> datetime | None:
    if not _DATE.fullmatch(watermark):
        return None
    try:
        moment = datetime.fromisoformat(watermark)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def is_lower(new: str, old: str) -> bool:
    """What the function in the database is to answer."""
    if _NUMBER.fullmatch(new) and _NUMBER.fullmatch(old):
        return Decimal(new) < Decimal(old)
    new_moment, old_moment = _moment(new), _moment(old)
    if new_moment and old_moment:
        return new_moment < old_moment
    return new < old


_zones: Any = st.none() | st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
_moments = st.datetimes(START.replace(year=1900, tzinfo=None), START.replace(year=2100, tzinfo=None), timezones=_zones)
_watermarks = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.integers(-20, 20).map(str),
    st.decimals(-100, 100, places=3).map(str),
    st.sampled_from(
        ["007", "+7", "7.0", "-0", "", "7.", "1e3", "NaN", "infinity", "now", "2026-02-30", "2026-1-1", "é"]
    ),
    st.dates(date(1900, 1, 1), date(2100, 1, 1)).map(str),
    _moments.map(str),
    _moments.map(datetime.isoformat),
    st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=10),
)


@given(new=_watermarks, old=_watermarks)
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_lower_is_the_same_as_in_python(engine: Engine, new: str, old: str) -> None:
    with engine.connect() as connection:
        found = connection.scalar(text("SELECT watcher_watermark_is_lower(:new, :old)"), {"new": new, "old": old})

    assert found is is_lower(new, old)


@pytest.mark.parametrize(
    ("higher", "lower"),
    [("10", "9"), ("10.5", "9.99"), ("2026-03-02", "2026-03-01T23:00:00"), ("b", "a"),
     ("2026-03-01T01:00:00+01:00", "2026-02-28T23:59:59Z")],
)  # fmt: skip
async def test_a_lower_watermark_never_replaces_a_higher_one_where_it_only_rises(
    client: httpx.AsyncClient, higher: str, lower: str
) -> None:
    pipeline_id = await make_pipeline(client, monotonic_watermark=True)
    for number, watermark in enumerate((lower, higher, lower)):
        at = START + timedelta(hours=number)
        await end(client, await start(client, pipeline_id, at, next_watermark=watermark), at + timedelta(minutes=5))

    pipeline = (await client.get(f"/pipeline/{pipeline_id}")).json()
    assert (pipeline["watermark"], pipeline["monotonic_watermark"]) == (higher, True)


async def test_elsewhere_the_latest_run_says_where_it_stands(client: httpx.AsyncClient) -> None:
    pipeline_id = await make_pipeline(client)
    for number, watermark in enumerate(("10", "9")):
        at = START + timedelta(hours=number)
        await end(client, await start(client, pipeline_id, at, next_watermark=watermark), at + timedelta(minutes=5))

    assert (await client.get(f"/pipeline/{pipeline_id}")).json()["watermark"] == "9"


async def test_a_move_back_that_is_wanted_is_a_patch(client: httpx.AsyncClient) -> None:
    pipeline_id = await make_pipeline(client, monotonic_watermark=True)
    await end(client, await start(client, pipeline_id, next_watermark="10"))

    await client.patch("/pipeline", json={"id": pipeline_id, "watermark": "5"})

    assert (await client.get(f"/pipeline/{pipeline_id}")).json()["watermark"] == "5"
    at = START + timedelta(hours=1)
    await end(client, await start(client, pipeline_id, at, next_watermark="7"), at + timedelta(minutes=5))
    assert (await client.get(f"/pipeline/{pipeline_id}")).json()["watermark"] == "7"


async def test_a_ping_moves_it_up_only_too(client: httpx.AsyncClient) -> None:
    await make_pipeline(client, monotonic_watermark=True)
    url = (await client.get("/pipeline/1")).json()["ping_url"]

    for watermark in ("10", "9"):
        await client.post(url, json={"watermark": watermark})

    assert (await client.get("/pipeline/1")).json()["watermark"] == "10"


RULES: dict[str, Any] = {
    "max_concurrent": 3, "overlap": "expected", "lost_after_hours": 2.5, "monotonic_watermark": True
}  # fmt: skip


async def test_what_holds_for_overlapping_and_lost_runs_is_set_and_shown(client: httpx.AsyncClient) -> None:
    pipeline_id = await make_pipeline(client, **RULES)

    shown = (await client.get(f"/pipeline/{pipeline_id}")).json()
    assert {name: shown[name] for name in RULES} == RULES
    reset = {"max_concurrent": None, "overlap": "skip", "lost_after_hours": None, "monotonic_watermark": False}
    changed = (await client.patch("/pipeline", json={"id": pipeline_id, **reset})).json()
    assert {name: changed[name] for name in RULES} == reset


@pytest.mark.parametrize(
    "field",
    [{"max_concurrent": 0}, {"overlap": "sometimes"}, {"overlap": None}, {"lost_after_hours": 0},
     {"lost_after_hours": 1e9}, {"monotonic_watermark": None}],
)  # fmt: skip
async def test_rules_that_cannot_be_are_refused(client: httpx.AsyncClient, field: dict[str, Any]) -> None:
    await make_pipeline(client)

    assert (await client.patch("/pipeline", json={"id": 1, **field})).status_code == 422
