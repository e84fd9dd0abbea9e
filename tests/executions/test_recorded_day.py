"""On which day, and in which hour, an execution is recorded: those of its start in UTC."""

from datetime import date

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.support.rows import add_pipeline


@pytest.mark.parametrize(
    ("start", "day", "hour"),
    [
        ("2026-11-20T23:30:00Z", date(2026, 11, 20), 23),
        ("2026-11-21T01:30:00+02:00", date(2026, 11, 20), 23),
        ("2026-11-20T19:30:00-05:00", date(2026, 11, 21), 0),
        ("2026-11-21T00:00:00Z", date(2026, 11, 21), 0),
    ],
)
async def test_a_run_is_recorded_on_the_day_of_its_start_in_utc(
    client: httpx.AsyncClient, engine: Engine, start: str, day: date, hour: int
) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)

    answer = await client.post("/start_pipeline_execution", json={"pipeline_id": pipeline, "start_date": start})

    assert answer.status_code == 201
    with engine.connect() as connection:
        recorded = connection.execute(text("SELECT date_recorded, hour_recorded FROM pipeline_execution")).one()
    assert tuple(recorded) == (day, hour)
