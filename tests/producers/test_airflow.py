"""A DAG of Airflow, run by `airflow dags test`."""

import json
from pathlib import Path

from tests.producers.conftest import HERE, Receiver, producer


def test_a_dag_run_is_a_tree_of_its_tasks(receiver: Receiver, tmp_path: Path) -> None:
    airflow = producer("airflow")
    database = {"conn_type": "sqlite", "host": str(tmp_path / "shop.sqlite")}
    variables = receiver.variables() | {
        "AIRFLOW__OPENLINEAGE__NAMESPACE": "airflow",
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__DAGS_FOLDER": str(HERE / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW_CONN_SHOP": json.dumps(database),
    }
    airflow.run(["airflow", "db", "migrate"], variables, directory=tmp_path)
    airflow.run(["airflow", "dags", "test", "shop_etl"], variables, directory=tmp_path, fails=True)
    found = receiver.found("airflow")

    assert found.jobs() == {"shop_etl", "shop_etl.extract", "shop_etl.fill", "shop_etl.load"}
    (dag,) = found.all_of("shop_etl")
    assert (dag.type, dag.succeeded, dag.parent_id) == ("airflow dag", False, None)
    assert (dag.facts["owners"], dag.facts["tags"]) == (["sales"], ["finance"])
    assert (dag.schedule, dag.schedule_timezone) == ("0 2 * * *", "Europe/Berlin")
    assert dag.said["dag_run"].startswith("manual__")

    (extract,) = found.all_of("shop_etl.extract")
    assert (extract.type, extract.succeeded, extract.parent_id) == ("airflow task", True, dag.id)
    assert extract.said["log_url"].endswith("/tasks/extract?try_number=1")
    edge = ("airflow/shop_etl.extract", "file://lake/raw/orders.csv", "file://lake/clean/orders.parquet")
    assert found.edges == [edge]

    (fill,) = found.all_of("shop_etl.fill")
    assert fill.said["statements"] == {"total": 3, "failed": 0}

    first, second = found.all_of("shop_etl.load")
    assert (first.outcome, second.outcome, second.succeeded) == ("retried", None, False)
    assert (first.said["attempt"], second.said["attempt"]) == (1, 2)
    assert (first.parent_id, second.parent_id) == (dag.id, dag.id)
    assert second.error == "the warehouse is away"
