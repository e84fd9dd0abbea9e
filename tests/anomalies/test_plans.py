"""How PostgreSQL runs the statements that measure a history, with the plan that it keeps for any parameters."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text

from tests.support.rows import add_pipeline
from watcher_server.anomalies.baseline import Window, measurement
from watcher_server.anomalies.rules import Method, Metric

# Half a year of two pipelines that run every hour, and once moved a thousand times as much.
HISTORY = """
INSERT INTO pipeline_execution (pipeline_id, start_date, end_date, date_recorded, hour_recorded, completed_successfully,
    duration_seconds, inserts, updates, soft_deletes, total_rows, throughput)
SELECT pipeline_id, moment, moment + interval '1 minute', moment::date, extract(hour FROM moment), true,
    60, rows, rows, rows, rows, rows / 60.0
FROM unnest(CAST(:pipeline_ids AS bigint[])) AS pipeline_id,
    generate_series(timestamptz '2026-01-01', '2026-06-30', '1 hour') AS moment,
    LATERAL (SELECT CASE WHEN moment = '2026-06-01' THEN 1000000 ELSE 1000 + extract(doy FROM moment)::int % 7 END)
        AS moved (rows)
"""

FLAGS = {"flags": json.dumps(dict.fromkeys(Metric, True))}


@pytest.fixture
def pipeline_id(engine: Engine) -> int:
    with engine.begin() as connection:
        ids = [add_pipeline(connection, name) for name in ("orders", "customers")]
        connection.execute(text(HISTORY), {"pipeline_ids": ids})
        connection.execute(text("ANALYZE pipeline_execution"))
    return ids[0]


def explain(connection: Connection, kind: Window, parameters: dict[str, str]) -> list[dict[str, Any]]:
    """All nodes of the plan for any parameters, with how often each ran for these: SQL literals by name."""
    prepared = measurement(kind)
    connection.exec_driver_sql("SET LOCAL plan_cache_mode = force_generic_plan")
    connection.exec_driver_sql(f"PREPARE measure AS {prepared.sql.decode()}")
    values = ", ".join(parameters[name] for name in prepared.names)
    try:
        explained = f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) EXECUTE measure({values})"
        return list(_nodes(connection.exec_driver_sql(explained).scalar_one()[0]["Plan"]))
    finally:
        connection.exec_driver_sql("DEALLOCATE measure")


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


def window(pipeline_id: int, hours: range) -> dict[str, str]:
    since = "'2026-04-01'::timestamptz"
    limits = {
        f"{metric}_{limit}": value
        for metric in Metric
        for limit, value in (("since", since), ("accepted", "NULL"), ("outlier", "3"))
    }
    return limits | {
        "pipeline_id": str(pipeline_id),
        "hour": "0",
        "hours": f"ARRAY{list(hours)}",
        "weekday": "1",
        "holidays": "'{}'::date[]",
        "earliest": since,
        "ended_at": "'2026-06-30'::timestamptz",
        "most": "10000",
    }


KINDS = [
    Window(method, tuple(Metric), hourly=hourly, daily=daily, alike=alike)
    for method in (Method.ZSCORE, Method.MAD)
    for hourly, daily in ((True, False), (False, False), (False, True))
    for alike in (True, False)
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_history_is_found_by_its_index_and_measured(engine: Engine, pipeline_id: int, kind: Window) -> None:
    hours = range(1) if kind.hourly else range(24)
    with engine.connect() as connection:
        nodes = explain(connection, kind, window(pipeline_id, hours))

    read = [node for node in nodes if node.get("Relation Name") == "pipeline_execution"]
    assert {node["Index Name"] for node in nodes if "Index Name" in node} == {"ix_pipeline_execution_baseline"}
    assert {node["Node Type"] for node in read} <= {"Index Scan", "Bitmap Heap Scan"}
    # The mean is measured once more without the outlier.
    assert len(read) == (2 if kind.method == Method.ZSCORE else 1)
    assert all(node["Actual Loops"] <= len(hours) for node in read)
    aggregates = [node for node in nodes if node["Node Type"] == "Aggregate"]
    assert aggregates
    assert {node["Actual Loops"] for node in aggregates} <= {0, 1}
    # The runs are gone through once to find the middle, once to measure from it, and not once per row or metric.
    assert sum(node["Actual Loops"] for node in nodes if node.get("CTE Name") == "run") <= 2


def test_a_history_without_outliers_is_read_once(engine: Engine, pipeline_id: int) -> None:
    with engine.connect() as connection:
        connection.execute(text("UPDATE pipeline_execution SET anomaly_flags = :flags WHERE inserts > 10000"), FLAGS)
        kind = Window(Method.ZSCORE, tuple(Metric), hourly=False, daily=False, alike=True)
        nodes = explain(connection, kind, window(pipeline_id, range(24)))

    read = [node["Actual Loops"] for node in nodes if node.get("Relation Name") == "pipeline_execution"]
    assert sorted(read) == [0, 24]


def test_few_runs_of_an_hour_are_measured_by_the_plan_that_is_kept(engine: Engine, pipeline_id: int) -> None:
    kind = Window(Method.ZSCORE, tuple(Metric), hourly=True, daily=False, alike=True)
    prepared, values = measurement(kind), window(pipeline_id, range(1))
    with engine.connect() as connection:
        connection.exec_driver_sql(f"PREPARE measure AS {prepared.sql.decode()}")
        for _ in range(7):
            connection.exec_driver_sql(f"EXECUTE measure({', '.join(values[name] for name in prepared.names)})")
        plans = connection.exec_driver_sql(
            "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE name = 'measure'"
        ).one()
        connection.exec_driver_sql("DEALLOCATE measure")

    assert plans == (2, 5)
