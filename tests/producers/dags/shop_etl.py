"""Three tasks, the last of which fails: on its first try, and on the one that follows."""

from datetime import timedelta

import pendulum
from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, Asset, CronTriggerTimetable

RAW = Asset("file:///lake/raw/orders.csv")
CLEAN = Asset("file:///lake/clean/orders.parquet")


def copy() -> int:
    """Read and write, as far as the inlets and outlets say."""
    return 3


def load() -> None:
    """Fail as a load does."""
    raise ValueError("the warehouse is away")


with DAG(
    "shop_etl",
    description="Orders of the shop.",
    schedule=CronTriggerTimetable("0 2 * * *", timezone="Europe/Berlin"),
    start_date=pendulum.datetime(2026, 1, 1, tz="Europe/Berlin"),
    catchup=False,
    tags=["finance"],
    default_args={"owner": "sales"},
):
    extract = PythonOperator(task_id="extract", python_callable=copy, inlets=[RAW], outlets=[CLEAN])
    fill = SQLExecuteQueryOperator(
        task_id="fill",
        conn_id="shop",
        sql=[
            "CREATE TABLE IF NOT EXISTS orders (id INTEGER, amount INTEGER)",
            "CREATE TABLE IF NOT EXISTS daily (amount INTEGER)",
            "INSERT INTO daily SELECT sum(amount) FROM orders",
        ],
    )
    fail = PythonOperator(task_id="load", python_callable=load, retries=1, retry_delay=timedelta(seconds=1))
    extract >> fill >> fail
