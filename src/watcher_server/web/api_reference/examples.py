"""An example of each request that a pipeline or its owner sends, in an order that works on an empty Watcher."""

from typing import Any, NamedTuple


class Example(NamedTuple):
    """A body and the answer to it; either may be missing."""

    method: str
    path: str
    status: int
    body: dict[str, Any] | None = None
    answer: dict[str, Any] | None = None
    # Refusals that the route has beside those of every route.
    refusals: dict[int, str] | None = None


_ORDERS = {"name": "shop.public.orders", "address_type_name": "postgres", "address_type_group_name": "database"}
_WAREHOUSE = {**_ORDERS, "name": "warehouse.sales.orders"}
_QUEUED = {"status": "queued"}

EXAMPLES = (
    Example(
        "post",
        "/pipeline",
        201,
        {
            "name": "orders daily",
            "pipeline_type_name": "extraction",
            "next_watermark": "2026-01-02",
            "pipeline_metadata": {"tags": ["sales"], "owner": "data team"},
            "freshness_number": 2,
            "freshness_datepart": "day",
            "timeliness_number": 30,
            "timeliness_datepart": "minute",
            "schedule": "0 2 * * *",
            "schedule_timezone": "Europe/Berlin",
            "schedule_grace_minutes": 10,
        },
        {"id": 1, "active": True, "load_lineage": True, "watermark": None},
    ),
    Example(
        "post",
        "/address_lineage",
        201,
        {"pipeline_id": 1, "source_addresses": [_ORDERS], "target_addresses": [_WAREHOUSE]},
        {
            "pipeline_id": 1,
            "lineage_relationships_created": 1,
            "message": "lineage relationships created for pipeline 1",
        },
        {404: "There is no such pipeline."},
    ),
    Example(
        "post",
        "/anomaly_detection_rule",
        201,
        {"pipeline_id": 1, "metric_field": "inserts", "method": "seasonal", "lookback_days": 90},
        {"id": 1},
        {404: "There is no such pipeline."},
    ),
    Example(
        "post",
        "/start_pipeline_execution",
        201,
        {"pipeline_id": 1, "start_date": "2026-01-02T02:00:00Z", "next_watermark": "2026-01-02"},
        {"id": 1},
        {404: "There is no such pipeline or parent."},
    ),
    Example(
        "post",
        "/end_pipeline_execution",
        204,
        {
            "id": 1,
            "end_date": "2026-01-02T02:04:10Z",
            "completed_successfully": True,
            "inserts": 1250,
            "updates": 0,
            "soft_deletes": 0,
            "total_rows": 1250,
            "execution_metadata": {"log": "https://logs.example/1"},
        },
        refusals={
            400: "The end is not after the start.",
            404: "There is no such execution.",
            409: "It has ended already, differently.",
        },
    ),
    Example(
        "get",
        "/pipeline_execution/{execution_id}",
        200,
        answer={
            "id": 1,
            "parent_id": None,
            "pipeline_id": 1,
            "start_date": "2026-01-02T02:00:00+00:00",
            "end_date": "2026-01-02T02:04:10+00:00",
            "duration_seconds": 250,
            "completed_successfully": True,
            "inserts": 1250,
            "updates": 0,
            "soft_deletes": 0,
            "total_rows": 1250,
            "watermark": None,
            "next_watermark": "2026-01-02",
            "execution_metadata": {"log": "https://logs.example/1"},
            "anomaly_flags": {},
            "throughput": 5.0,
            "duration_ms": 250_000,
            "clock_skew_seconds": None,
            "outcome": None,
            "backfill": False,
            "nothing_to_do": False,
            "child_executions": [],
        },
        refusals={404: "There is no such execution."},
    ),
    Example("patch", "/pipeline", 200, {"id": 1, "mute_freshness_check": True}),
    Example("patch", "/anomaly_detection_rule", 200, {"id": 1, "z_threshold": 2.6}),
    Example(
        "post",
        "/anomaly_detection_rule/preview",
        200,
        {"pipeline_id": 1, "metric_field": "inserts", "method": "seasonal", "alarms_per_month": 1, "days": 90},
        refusals={404: "There is no such pipeline."},
    ),
    Example("post", "/freshness", 200, answer=_QUEUED),
    Example("post", "/timeliness", 200, {"lookback_minutes": 60}, _QUEUED),
    Example("post", "/schedule_check", 200, answer=_QUEUED),
    Example(
        "post", "/address", 201, {**_ORDERS, "database_name": "shop", "schema_name": "public", "table_name": "orders"}
    ),
    Example("put", "/rate-limits/{task}", 200, {"limit": "none", "minutes": 60}),
    Example("post", "/log_cleanup", 200, {"retention_days": 365}),
)
