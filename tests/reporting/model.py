"""Runs at chosen moments, and what a report must say of them: one slow statement over all executions."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from sqlalchemy import Connection, Engine, text

PATH = "/reporting/daily-pipeline-metrics"

# Midnight at the beginning of what the clock takes for today: later than the machine's own clock.
TODAY = datetime(2040, 1, 15, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def day(days_ago: int) -> datetime:
    """The first moment of a day."""
    return TODAY - timedelta(days=days_ago)


def noon(days_ago: int) -> datetime:
    """The middle of a day."""
    return day(days_ago) + timedelta(hours=12)


_MODEL = text("""
SELECT date_recorded::text, pipeline.name AS pipeline_name, pipeline_type.name AS pipeline_type_name,
    count(*) AS total_executions,
    count(*) FILTER (WHERE end_date IS NOT NULL AND NOT completed_successfully) AS failed_executions,
    coalesce(round(100.0 * count(*) FILTER (WHERE end_date IS NOT NULL AND NOT completed_successfully)
        / nullif(count(end_date), 0), 2), 0)::float8 AS error_percentage,
    coalesce(sum(inserts), 0)::bigint AS daily_inserts,
    coalesce(sum(updates), 0)::bigint AS daily_updates,
    coalesce(sum(soft_deletes), 0)::bigint AS daily_soft_deletes,
    coalesce(sum(total_rows), 0)::bigint AS daily_total_rows,
    round(avg(duration_seconds), 2)::float8 AS avg_duration_seconds,
    (CASE WHEN sum(duration_seconds) = 0 AND sum(total_rows) IS NOT NULL THEN 0
        ELSE round(sum(total_rows) / nullif(sum(duration_seconds), 0), 4) END)::float8 AS daily_throughput
FROM pipeline_execution
JOIN pipeline ON pipeline.id = pipeline_execution.pipeline_id
JOIN pipeline_type ON pipeline_type.id = pipeline.pipeline_type_id
WHERE start_date >= date_trunc('day', now(), 'UTC') - make_interval(days => :days - 1)
    AND start_date < date_trunc('day', now(), 'UTC') + interval '1 day'
GROUP BY date_recorded, pipeline.name, pipeline_type.name
ORDER BY date_recorded DESC, pipeline.name
""")


def counted(connection: Connection, days: int = 30) -> list[dict[str, Any]]:
    """The rows that a report must have, counted from all executions of its days."""
    return [dict(row) for row in connection.execute(_MODEL, {"days": days}).mappings()]


async def reported(client: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    """The rows of a report, from all its pages."""
    rows: list[dict[str, Any]] = []
    page = 1
    while True:
        answer = await client.get(PATH, params={"page": page, "page_size": 1_000, **query})
        assert answer.status_code == 200, answer.text
        report = answer.json()
        rows += report["data"]
        if not report["pagination"]["has_next"]:
            assert report["pagination"]["total_records"] == len(rows)
            return rows
        page += 1


async def check_report(client: httpx.AsyncClient, engine: Engine, days: int = 30) -> None:
    """Fail unless the report has the figures of the executions."""
    with engine.connect() as connection:
        expected = counted(connection, days)
    assert await reported(client, days=days) == expected


async def start_run(client: httpx.AsyncClient, pipeline_id: int, at: datetime) -> int:
    """Report the start of a run; its id."""
    body = {"pipeline_id": pipeline_id, "start_date": at.isoformat()}
    answer = await client.post("/start_pipeline_execution", json=body)
    assert answer.status_code == 201, answer.text
    return int(answer.json()["id"])


async def end_run(client: httpx.AsyncClient, execution_id: int, at: datetime, **fields: Any) -> None:
    """Report the end of a run, successful unless the fields say otherwise."""
    body = {"id": execution_id, "end_date": at.isoformat(), "completed_successfully": True, **fields}
    answer = await client.post("/end_pipeline_execution", json=body)
    assert answer.status_code == 204, answer.text
