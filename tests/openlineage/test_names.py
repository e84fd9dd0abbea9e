"""What pipelines and addresses are called."""

import hashlib
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine

from tests.openlineage.known import addresses, executions, pipelines, rows
from tests.support.openlineage import dataset, job_type, later, output, run_event, send
from watcher_server.openlineage.envelope import DatasetName, JobName
from watcher_server.openlineage.naming import address_name, pipeline_name, trim_partitions

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("namespace", "name", "expected"),
    [
        ("postgres://wh:5432", "shop.public.Orders", "postgres://wh:5432/shop.public.orders"),
        ("postgresql://wh", "shop.public.orders", "postgres://wh:5432/shop.public.orders"),
        ("postgres://wh:5432/", '"shop"."public"."Orders"', "postgres://wh:5432/shop.public.orders"),
        ("mysql://db", "shop.orders", "mysql://db:3306/shop.orders"),
        ("sqlserver://db", "shop.dbo.orders", "mssql://db:1433/shop.dbo.orders"),
        ("snowflake://ORG-ACCT", "SHOP.PUBLIC.ORDERS", "snowflake://org-acct/shop.public.orders"),
        (
            "snowflake://org-acct.SnowflakeComputing.com",
            "shop.public.orders",
            "snowflake://org-acct/shop.public.orders",
        ),
        ("bigquery", "project.dataset.table", "bigquery/project.dataset.table"),
        ("s3a://lake", "/raw/orders", "s3://lake/raw/orders"),
        ("s3n://lake/", "raw/orders/", "s3://lake/raw/orders"),
        ("S3://lake", "raw/orders/dt=2026-01-01", "s3://lake/raw/orders"),
        ("abfs://box@account.dfs.core.windows.net", "raw", "abfss://box@account.dfs.core.windows.net/raw"),
        ("gs://bucket", "raw/year=2026/month=01", "gs://bucket/raw"),
        ("file", "/data/x.csv", "file://data/x.csv"),
        ("file://", "/data/x.csv", "file://data/x.csv"),
        ("kafka://one:9092,two:9092", "orders", "kafka://one:9092,two:9092/orders"),
        ("kafka://one", "orders", "kafka://one:9092/orders"),
        ("arn:aws:glue:eu-west-1:123", "table/shop/orders", "arn:aws:glue:eu-west-1:123/table/shop/orders"),
        ("postgres://user:secret@wh:5432", "shop.public.orders", "postgres://wh:5432/shop.public.orders"),
    ],
)
def test_spellings_of_one_dataset_are_one_name(namespace: str, name: str, expected: str) -> None:
    assert str(address_name(DatasetName(namespace, name), "spark", {}).name) == expected


@pytest.mark.parametrize(
    ("namespace", "name", "expected"),
    [
        ("postgres://wh", "shop.public.orders", ("postgres", "database", "shop", "public", "orders")),
        ("mysql://db", "shop.orders", ("mysql", "database", None, "shop", "orders")),
        ("awsathena://athena.eu", "c.db.t", ("athena", "database", "c", "db", "t")),
        ("bigquery", "project.dataset.table", ("bigquery", "database", "project", "dataset", "table")),
        ("arn:aws:glue:eu:1", "table/db/t", ("glue", "database", None, "db", "t")),
        ("gs://bucket", "a/b.c.d", ("gcs", "file", None, None, None)),
        ("kafka://k", "a.b.c", ("kafka", "stream", None, None, None)),
        ("exotic://host", "a.b.c", ("exotic", "other", "a", "b", "c")),
        ("my namespace", "x", ("spark", "other", None, None, None)),
    ],
)
def test_the_namespace_says_the_type_and_the_parts(namespace: str, name: str, expected: tuple[str | None, ...]) -> None:
    found = address_name(DatasetName(namespace, name), "spark", {})
    assert (found.type_name, found.group_name, found.database_name, found.schema_name, found.table_name) == expected


def test_namespaces_may_be_called_otherwise() -> None:
    aliases = {"postgres://10.0.*:5432": "postgres://warehouse:5432"}
    found = address_name(DatasetName("postgresql://10.0.3.7", "shop.public.orders"), "spark", aliases)
    assert str(found.name) == "postgres://warehouse:5432/shop.public.orders"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("raw/orders/2026-01-31", "raw/orders"),
        ("raw/orders/20260131", "raw/orders"),
        ("raw/orders/2026/01/31", "raw/orders"),
        ("raw/orders/202601", "raw/orders"),
        ("raw/orders/country=de/dt=2026-01-31/", "raw/orders"),
        ("raw/2026-01-31/orders", "raw/2026-01-31/orders"),
        ("dt=2026-01-31", "dt=2026-01-31"),
        ("2026/01/31", "2026/01/31"),
        ("/", "/"),
    ],
)
def test_partitions_at_the_end_of_a_path_are_no_part_of_its_name(path: str, expected: str) -> None:
    assert trim_partitions(path) == expected


def test_a_long_name_is_cut_and_stays_unique(engine: Engine) -> None:
    key = "raw/" + "k" * 1_990 + "/one"
    other = key[:-3] + "two"
    job = "insert into " + "t" * 890
    given: dict[str, Any] = {
        "job": job,
        "inputs": [dataset(key, namespace="s3://lake")],
        "outputs": [output(other, namespace="s3://lake")],
    }
    send(engine, run_event("COMPLETE", START, **given))
    (pipeline,) = pipelines(engine)
    assert pipeline == f"demo/{job}"
    first, second = sorted(addresses(engine))
    assert first != second
    assert all(len(name.encode()) == 1_000 for name in (first, second))
    digests = {hashlib.sha256(f"s3://lake/{name}".encode()).hexdigest()[:20] for name in (key, other)}
    assert {name.rpartition("~")[2] for name in (first, second)} == digests
    assert {row["openlineage"]["name"] for row in addresses(engine).values()} == {key, other}


def test_characters_of_several_bytes_are_not_cut_in_the_middle() -> None:
    name = pipeline_name(JobName("demo", "ü" * 900))
    assert len(name.encode()) <= 1_000
    assert "�" not in name


def test_two_schedulers_may_have_jobs_of_one_name(engine: Engine) -> None:
    for namespace in ("airflow-1", "airflow-2"):
        send(engine, run_event("COMPLETE", START, namespace=namespace))
    assert set(pipelines(engine)) == {"airflow-1/etl", "airflow-2/etl"}


def test_the_same_dataset_from_two_tools_is_one_address(engine: Engine) -> None:
    send(engine, run_event("COMPLETE", START, job="dbt", outputs=[output("SHOP.PUBLIC.ORDERS", "snowflake://ACCT")]))
    send(engine, run_event("COMPLETE", START, job="spark", inputs=[dataset("shop.public.orders", "snowflake://acct")]))
    send(
        engine,
        run_event("COMPLETE", START, job="quoted", inputs=[dataset('"Shop"."Public"."Orders"', "snowflake://acct")]),
    )
    (address,) = addresses(engine).values()
    assert (address["name"], address["database_name"], address["table_name"]) == (
        "snowflake://acct/shop.public.orders", "shop", "orders",
    )  # fmt: skip


def test_every_day_of_a_partitioned_folder_is_one_address(engine: Engine) -> None:
    for day in range(1, 4):
        name = f"raw/orders/dt=2026-01-0{day}"
        send(engine, run_event("COMPLETE", later(START, day), run=str(day), outputs=[output(name, "s3a://lake")]))
    assert set(addresses(engine)) == {"s3://lake/raw/orders"}


@pytest.mark.parametrize(
    ("producer", "facets", "expected"),
    [
        ("https://github.com/OpenLineage/OpenLineage/tree/1.54.0/integration/dagster", {}, "dagster"),
        ("https://github.com/apache/airflow/tree/providers-openlineage/2.20.3", {}, "airflow"),
        ("https://example.com/mine", {}, "openlineage"),
        ("https://example.com/mine", job_type("SPARK", "SQL_JOB"), "spark sql_job"),
        ("https://example.com/mine", job_type("Feast"), "feast"),
    ],
)
def test_the_type_of_a_pipeline_says_what_reports_it(
    engine: Engine, producer: str, facets: dict[str, object], expected: str
) -> None:
    send(engine, run_event("COMPLETE", START, job_facets=facets) | {"producer": producer})
    assert pipelines(engine)["demo/etl"]["type"] == expected


def test_a_type_that_is_known_later_is_the_type(engine: Engine) -> None:
    send(engine, run_event("START", START))
    assert pipelines(engine)["demo/etl"]["type"] == "openlineage"
    send(engine, run_event("COMPLETE", later(START, 1), job_facets=job_type("AIRFLOW", "TASK")))
    assert pipelines(engine)["demo/etl"]["type"] == "airflow task"


def test_a_type_that_people_chose_stays(engine: Engine) -> None:
    send(engine, run_event("START", START))
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO pipeline_type (name) VALUES ('ours')")
        connection.exec_driver_sql(
            "UPDATE pipeline SET pipeline_type_id = (SELECT id FROM pipeline_type WHERE name = 'ours')"
        )
    send(engine, run_event("COMPLETE", later(START, 1), job_facets=job_type("AIRFLOW", "TASK")))
    assert pipelines(engine)["demo/etl"]["type"] == "ours"


def test_queries_of_trino_are_called_by_what_they_write(engine: Engine) -> None:
    for number, written in enumerate(("shop.daily", "shop.daily", None)):
        outputs = [output(written, "trino://trino:8080")] if written else []
        job = f"20260301_12000{number}_0001{number}_abcde"
        send(engine, run_event("COMPLETE", later(START, number), job=job, run=str(number), outputs=outputs))
    assert set(pipelines(engine)) == {"demo/writes shop.daily"}
    assert len(executions(engine)) == 2
    (source,) = rows(engine, "SELECT applied, ignored FROM openlineage_source")
    assert source == {"applied": 2, "ignored": 1}
