"""What producers send, in their own shapes: events written by hand after those of real runs."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, text

from tests.support.openlineage import dataset, job_type, later, output, parent, run_event, send

# Not long ago, so that people are told.
START = datetime.now(UTC) - timedelta(minutes=5)
SHOP = "duckdb:///data/shop.duckdb"


def executions(engine: Engine) -> dict[str, dict[str, Any]]:
    """The last execution of each pipeline, with the name of its caller's pipeline."""
    statement = """
        SELECT pipeline.name AS pipeline, pipeline_type.name AS type, caller.name AS parent, execution.*
        FROM pipeline_execution AS execution
        JOIN pipeline ON pipeline.id = execution.pipeline_id JOIN pipeline_type ON pipeline_type.id = pipeline_type_id
        LEFT JOIN pipeline_execution AS above ON above.id = execution.parent_id
        LEFT JOIN pipeline AS caller ON caller.id = above.pipeline_id
        ORDER BY execution.id
    """
    with engine.connect() as connection:
        return {row["pipeline"]: dict(row) for row in connection.execute(text(statement)).mappings()}


def said(execution: dict[str, Any], name: str) -> Any:
    """What OpenLineage said of a run."""
    return execution["execution_metadata"]["openlineage"].get(name)


def column(engine: Engine, statement: str) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.scalars(text(statement)))


def dbt_test(kind: str, at: datetime, *, success: bool, run: str = "t") -> dict[str, Any]:
    """A test of dbt, as its structured logs report it: what it found stands with its input."""
    found = {"assertion": "unique", "name": "unique_orders_id", "column": "id", "severity": "error", "success": success}
    orders = dataset("shop.main.orders", SHOP, dataQualityAssertions={"assertions": [found]})
    audit = dataset("shop.main_dbt_test__audit.unique_orders_id", SHOP, dbt_model={"config": {"materialized": "test"}})
    return run_event(
        kind, at, job="test.shop.unique_orders_id", namespace="dbt", run=run,
        inputs=[orders], outputs=[audit], job_facets=job_type("DBT", "TEST"),
    )  # fmt: skip


def test_a_test_that_dbt_skipped_is_no_test_that_failed(engine: Engine) -> None:
    send(engine, dbt_test("ABORT", START, success=False))
    execution = executions(engine)["dbt/test.shop.unique_orders_id"]
    assert execution["outcome"] == "aborted"
    assert said(execution, "tests") is None
    assert column(engine, "SELECT title FROM alert") == []


def test_the_audit_table_of_a_test_is_no_address_and_no_write(engine: Engine) -> None:
    send(engine, dbt_test("START", START, success=True), dbt_test("COMPLETE", later(START, 1), success=True))
    assert said(executions(engine)["dbt/test.shop.unique_orders_id"], "tests")["total"] == 1
    assert column(engine, "SELECT table_name FROM address") == ["orders"]
    assert column(engine, "SELECT last_output FROM pipeline") == [None]


def test_a_check_of_dagster_that_warns_does_not_fail(engine: Engine) -> None:
    check = {"assertion": "is_complete", "passed": False, "severity": "WARN", "check_metadata": {}}
    assertion = {"assertion": "is_complete", "success": False, "params": {}}
    daily = dataset("daily", "dagster") | {"inputFacets": {"dataQualityAssertions": {"assertions": [assertion]}}}
    send(
        engine,
        run_event(
            "COMPLETE", START, job="daily__checks", namespace="dagster",
            inputs=[daily], run_facets={"dagster_asset_check": {"checks": [check]}},
        ),
    )  # fmt: skip
    tests = said(executions(engine)["dagster/daily__checks"], "tests")
    assert (tests["total"], tests["failed"], tests["warned"]) == (1, 0, 1)
    assert column(engine, "SELECT level FROM alert") == ["INFO"]


def airflow_task(
    kind: str, at: datetime, task: str, run: str, *, tried: int = 1, retries: int = 0, **facets: Any
) -> Any:
    """A task of Airflow. Each try is a run of its own."""
    said = {"taskInstance": {"try_number": tried}, "task": {"task_id": task, "retries": retries}}
    return run_event(
        kind, at, job=f"shop_etl.{task}", namespace="airflow", run=run,
        run_facets={"airflow": said, **parent("shop_etl", "dag", "airflow"), **facets},
        job_facets=job_type("AIRFLOW", "TASK"),
    )  # fmt: skip


def airflow_query(kind: str, at: datetime, number: int, **said: Any) -> Any:
    """A statement of a task. Airflow sends it when the task has ended."""
    return run_event(
        kind, at, job=f"shop_etl.fill.query.{number}", namespace="airflow", run=f"query {number}",
        run_facets=parent("shop_etl.fill", "fill", "airflow"), job_facets=job_type("AIRFLOW", "QUERY"), **said,
    )  # fmt: skip


def test_the_queries_of_a_task_are_a_part_of_it(engine: Engine) -> None:
    sides = {"inputs": [dataset("shop.public.orders")], "outputs": [output("shop.public.daily")]}
    send(
        engine,
        airflow_task("START", START, "fill", "fill"),
        airflow_query("START", later(START, 6), 1),
        airflow_query("COMPLETE", later(START, 6), 1),
        airflow_query("START", later(START, 6), 2, **sides),
        airflow_query("COMPLETE", later(START, 6), 2, **sides),
        airflow_task("COMPLETE", later(START, 5), "fill", "fill"),
    )
    (name,) = column(engine, "SELECT name FROM pipeline WHERE forgotten_at IS NULL")
    assert name == "airflow/shop_etl.fill"
    assert said(executions(engine)[name], "statements") == {"total": 2, "failed": 0}
    assert column(engine, "SELECT pipeline_id FROM address_lineage") == column(engine, "SELECT id FROM pipeline")


def test_a_try_that_airflow_repeats_is_no_failure_yet(engine: Engine) -> None:
    error = {"errorMessage": {"message": "the warehouse is away", "programmingLanguage": "python"}}
    for tried in (1, 2):
        at, run = later(START, 10 * tried), f"try {tried}"
        send(
            engine,
            airflow_task("START", at, "load", run, tried=tried, retries=1),
            airflow_task("FAIL", later(at, 5), "load", run, tried=tried, retries=1, **error),
        )
    outcomes = column(engine, "SELECT outcome FROM pipeline_execution ORDER BY start_date")
    assert outcomes == ["retried", None]
    assert len(column(engine, "SELECT id FROM outbox WHERE task_name = 'judge_failure_task'")) == 1


def spark(kind: str, at: datetime, job: str, run: str, job_kind: str, **said: Any) -> Any:
    """An event of Spark's listener, with facets that nothing is taken of."""
    own = {"spark.logicalPlan": {"plan": [{}]}, "spark_properties": {"properties": {"spark.master": "yarn"}}}
    return run_event(
        kind, at, job=job, namespace="spark", run=run, run_facets=own | said.pop("run_facets", {}),
        job_facets=job_type("SPARK", job_kind), **said,
    )  # fmt: skip


def test_an_application_of_spark_and_what_it_wrote(engine: Engine) -> None:
    job, of_application = "shop.execute_insert.daily", {"run_facets": parent("shop", "app", "spark")}
    sides = {
        "inputs": [dataset("/raw/orders", "s3a://lake")],
        "outputs": [output("/clean/daily/dt=2026-03-01", "s3a://lake", rows=3)],
    }
    send(
        engine,
        spark("START", START, "shop", "app", "APPLICATION"),
        spark("START", later(START, 1), job, "write", "SQL_JOB", **of_application, **sides),
        spark("RUNNING", later(START, 2), job, "write", "SQL_JOB", **of_application, **sides),
        spark("COMPLETE", later(START, 3), job, "write", "SQL_JOB", **of_application, **sides),
        spark("COMPLETE", later(START, 4), "shop", "app", "APPLICATION"),
    )
    found = executions(engine)
    written = found["spark/shop.execute_insert.daily"]
    assert (found["spark/shop"]["type"], written["type"]) == ("spark application", "spark sql_job")
    assert (written["parent"], written["total_rows"]) == ("spark/shop", 3)
    assert column(engine, "SELECT name FROM address ORDER BY name") == ["s3://lake/clean/daily", "s3://lake/raw/orders"]
    assert column(engine, "SELECT facet FROM openlineage_dropped_facet") == []


def test_a_job_of_flink_runs_until_it_is_ended(engine: Engine) -> None:
    for number, state in enumerate(("START", "RUNNING", "RUNNING")):
        event = run_event(
            state, later(START, 60 * number), job="insert-into_daily", namespace="flink",
            inputs=[dataset("orders", "kafka://broker:9092")], outputs=[dataset("daily", "kafka://broker:9092")],
            job_facets=job_type("FLINK", "JOB", "STREAMING"),
        )  # fmt: skip
        send(engine, event)
    (run,) = executions(engine).values()
    assert (run["pipeline"], run["type"]) == ("flink/insert-into_daily", "flink job")
    assert (run["completed_successfully"], run["end_date"]) == (None, None)
    assert column(engine, "SELECT last_output FROM pipeline") == [later(START, 120)]
    assert column(engine, "SELECT name FROM address ORDER BY name") == [
        "kafka://broker:9092/daily", "kafka://broker:9092/orders",
    ]  # fmt: skip
