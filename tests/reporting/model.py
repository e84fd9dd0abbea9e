"""The figures of a month as one statement over the executions: slow, and plain enough to believe."""

from typing import Any

import httpx
from sqlalchemy import Connection, text

PATH = "/reporting/daily-pipeline-metrics"

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
    """What a report is to say, counted from all executions of its days."""
    return [dict(row) for row in connection.execute(_MODEL, {"days": days}).mappings()]


async def reported(client: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    """What it says, all pages of it."""
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
