"""The schedule of a pipeline over HTTP, and what it makes expected."""

from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from tests.support.rows import add_pipeline, change_pipeline, now, rows
from watcher_server.pipelines.models import Pipeline

BODY: dict[str, Any] = {"name": "orders", "pipeline_type_name": "extraction"}
HOURLY: dict[str, Any] = {**BODY, "schedule": "0 * * * *"}
FIELDS = ("schedule", "schedule_timezone", "schedule_grace_minutes")


async def read(client: httpx.AsyncClient) -> dict[str, Any]:
    answer = await client.get("/pipeline/1")
    stored: dict[str, Any] = answer.json()
    if stored["expected_next_run"] is not None:
        stored["expected_next_run"] = datetime.fromisoformat(stored["expected_next_run"])
    return stored


def next_hour() -> datetime:
    return now().replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)


def set_moments(engine: Engine, expected: datetime, missed: datetime) -> None:
    with engine.begin() as connection:
        change_pipeline(connection, 1, expected_next_run=expected, last_missed_run=missed)


async def test_a_new_pipeline_expects_its_first_run_after_now(client: httpx.AsyncClient) -> None:
    before = next_hour()
    await client.post("/pipeline", json=HOURLY)

    stored = await read(client)

    assert [stored[field] for field in FIELDS] == ["0 * * * *", "UTC", 10]
    assert stored["expected_next_run"] in {before, next_hour()}
    assert stored["last_missed_run"] is None


async def test_strings_of_the_contract_are_lowered_and_schedules_keep_their_spelling(client: httpx.AsyncClient) -> None:
    zoned = {"schedule": " 0 2 * *  mon-fri ", "schedule_timezone": "europe/berlin", "schedule_grace_minutes": 0}
    await client.post("/pipeline", json={**BODY, **zoned})

    stored = await read(client)

    assert [stored[field] for field in FIELDS] == ["0 2 * * MON-FRI", "Europe/Berlin", 0]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"schedule": "every day"}, "must be five-field cron: minute, hour"),
        ({"schedule": "0 25 * * *"}, 'must be five-field cron such as "0 2 * * *" (bad hour)'),
        ({"schedule": "0 0 30 2 *"}, "must be a moment that comes"),
        ({"schedule": "* " * 60}, "at most 100 characters"),
        ({"schedule": 5}, "valid string"),
        ({"schedule_timezone": "Mars/Olympus"}, 'must be the IANA name of a time zone, such as "Europe/Berlin"'),
        ({"schedule_timezone": None}, "valid string"),
        ({"schedule_grace_minutes": -1}, "greater than or equal to 0"),
        ({"schedule_grace_minutes": 10_081}, "less than or equal to 10080"),
        ({"schedule_grace_minutes": None}, "valid integer"),
    ],
)
async def test_what_is_no_schedule_is_422_and_says_what_would_be(
    client: httpx.AsyncClient, change: dict[str, Any], sentence: str
) -> None:
    new = await client.post("/pipeline", json={**BODY, **change})
    await client.post("/pipeline", json=BODY)
    changed = await client.patch("/pipeline", json={"id": 1, **change})

    for answer in (new, changed):
        assert answer.status_code == 422
        assert sentence in answer.json()["detail"][0]["msg"]
        assert answer.json()["detail"][0]["loc"] == ["body", *change]


async def test_the_same_body_again_leaves_what_is_expected(client: httpx.AsyncClient, engine: Engine) -> None:
    await client.post("/pipeline", json=HOURLY)
    due, missed = next_hour() - timedelta(hours=1), next_hour() - timedelta(hours=2)
    set_moments(engine, due, missed)

    await client.post("/pipeline", json=HOURLY)
    assert (await read(client))["updated_at"] is None
    await client.post("/pipeline", json={**HOURLY, "pipeline_metadata": {"owner": "Ana"}})
    await client.post("/pipeline", json={**BODY, "next_watermark": 5})
    await client.patch("/pipeline", json={"id": 1, "schedule": "0 * * * *", "active": True})

    stored = await read(client)
    with engine.connect() as connection:
        (pipeline,) = rows(connection, Pipeline)
    # The one that is due stays so, and the next is the one after it.
    assert (pipeline["schedule"], pipeline["expected_next_run"]) == ("0 * * * *", due)
    assert stored["expected_next_run"] in {due + timedelta(hours=1), next_hour()}
    assert datetime.fromisoformat(stored["last_missed_run"]) == missed


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize(
    "change",
    [{"schedule": "0 */1 * * *"}, {"schedule_timezone": "europe/berlin"}, {"schedule_grace_minutes": 11}],
    ids=FIELDS,
)
async def test_a_changed_schedule_counts_from_now_on(
    client: httpx.AsyncClient, engine: Engine, method: str, change: dict[str, Any]
) -> None:
    await client.post("/pipeline", json=HOURLY)
    set_moments(engine, next_hour() - timedelta(hours=9), next_hour() - timedelta(hours=10))

    before = next_hour()
    answer = await client.request(method, "/pipeline", json={**HOURLY, **change})

    assert answer.status_code == 200
    stored = await read(client)
    assert stored["expected_next_run"] in {before, next_hour()}
    assert stored["last_missed_run"] is not None


async def test_a_cleared_schedule_expects_nothing_and_missed_nothing(client: httpx.AsyncClient, engine: Engine) -> None:
    await client.post("/pipeline", json=HOURLY)
    set_moments(engine, next_hour(), next_hour() - timedelta(hours=1))

    answer = await client.patch("/pipeline", json={"name": "orders", "schedule": None})

    assert [answer.json()[field] for field in ("schedule", "expected_next_run", "last_missed_run", "state")] == [
        None
    ] * 4


async def test_nothing_is_expected_while_inactive_and_the_first_run_after_now_when_active_again(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    await client.post("/pipeline", json=HOURLY)
    await client.patch("/pipeline", json={"id": 1, "active": False})
    paused = await read(client)
    await client.post("/pipeline", json={**HOURLY, "schedule": "30 * * * *"})
    still_paused = await read(client)
    await client.patch("/pipeline", json={"id": 1, "schedule": "0 * * * *"})

    before = next_hour()
    active = (await client.patch("/pipeline", json={"id": 1, "active": True})).json()

    assert [(row["state"], row["expected_next_run"]) for row in (paused, still_paused)] == [("paused", None)] * 2
    assert datetime.fromisoformat(active["expected_next_run"]) in {before, next_hour()}
    assert active["state"] == "on_time"


@pytest.mark.parametrize("path", ["/pipeline", "/pipeline_type"])
@pytest.mark.parametrize("pair", ["freshness_warning", "timeliness_warning"])
async def test_a_warning_is_a_pair_like_the_others(client: httpx.AsyncClient, path: str, pair: str) -> None:
    named = {"name": "orders"} | ({"pipeline_type_name": "extraction"} if path == "/pipeline" else {})
    number, datepart = f"{pair}_number", f"{pair}_datepart"

    half = await client.post(path, json={**named, number: 3})
    whole = await client.post(path, json={**named, number: 3, datepart: "Hour"})
    changed = await client.patch(path, json={"name": "orders", number: 4})
    halved = await client.patch(path, json={"name": "orders", datepart: None})

    assert [answer.status_code for answer in (half, whole, changed, halved)] == [422, 201, 200, 422]
    assert f"{number} and {datepart} must be provided together" in half.text
    for stored in (changed.json(), (await client.get(f"{path}/1")).json(), (await client.get(path)).json()[0]):
        assert (stored[number], stored[datepart]) == (4, "hour")


async def test_one_that_was_written_into_the_database_is_planned_when_it_changes(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    with engine.begin() as connection:
        add_pipeline(connection, schedule="0 * * * *")

    assert (await read(client))["state"] == "on_time"
    await client.patch("/pipeline", json={"id": 1, "schedule_grace_minutes": 5})

    assert (await read(client))["expected_next_run"] is not None
