"""dbt on DuckDB, in both ways in which its wrapper reports runs."""

from pathlib import Path

from tests.producers.conftest import HERE, Receiver, producer
from tests.producers.findings import Findings


def build_twice(receiver: Receiver, folder: Path, namespace: str, *options: str) -> Findings:
    """Build the shop, then build it with a model that is broken."""
    dbt = producer("dbt")
    variables = receiver.variables() | {
        "OPENLINEAGE_NAMESPACE": namespace,
        "SHOP_DATABASE": str(folder / "shop.duckdb"),
        "DBT_PROFILES_DIR": str(HERE / "shop"),
        "DBT_TARGET_PATH": str(folder / "target"),
        "DBT_LOG_PATH": str(folder / "logs"),
    }
    for arguments in ((), ("--vars", "{broken: true}")):
        dbt.run(["dbt-ol", "build", *options, *arguments], variables, directory=HERE / "shop", fails=True)
    return receiver.found(namespace)


def edges_of(folder: Path) -> set[tuple[str, str]]:
    file = folder / "shop.duckdb"
    raw, orders, daily = (f"duckdb://{file}/shop.main.{table}" for table in ("raw_orders", "orders", "daily"))
    return {(raw, orders), (orders, daily), (daily, f"exposure://{file}/revenue_board")}


def test_reported_at_the_end(receiver: Receiver, tmp_path: Path) -> None:
    found = build_twice(receiver, tmp_path, "dbt-end")
    orders, daily = "shop.main.shop.orders.build", "shop.main.shop.daily.build"
    assert found.jobs() == {"dbt-run-shop", f"{orders}.run", f"{daily}.run", f"{orders}.test", f"{daily}.test"}
    assert {(source, target) for _, source, target in found.edges} == edges_of(tmp_path)

    first, second = found.all_of("dbt-run-shop")
    assert (first.type, first.succeeded, second.succeeded) == ("dbt job", False, False)
    built, broken = found.all_of(f"{orders}.run")
    assert (built.type, built.succeeded, built.parent_id) == ("dbt model", True, first.id)
    assert (broken.succeeded, broken.parent_id, broken.wrote) == (False, second.id, True)
    assert built.facts["tags"] == ["finance", "owner:sales"]
    assert built.facts["file"] == "models/orders.sql"

    # dbt says nothing of a model that it skipped.
    assert [run.succeeded for run in found.all_of(f"{daily}.run")] == [True]
    counts = found.all_of(f"{daily}.test")[0]
    assert (counts.type, counts.checks()) == ("dbt test", (1, 1, 0))
    orders_table = found.addresses[f"duckdb://{tmp_path / 'shop.duckdb'}/shop.main.orders"]
    assert (orders_table["description"], orders_table["owners"]) == ("One row an order.", ["sales"])


def test_reported_while_it_runs(receiver: Receiver, tmp_path: Path) -> None:
    found = build_twice(receiver, tmp_path, "dbt-logs", "--consume-structured-logs")
    models, tests = {"model.shop.orders", "model.shop.daily"}, {job for job in found.jobs() if job.startswith("test.")}
    assert found.jobs() == {"dbt-run-shop", "seed.shop.raw_orders"} | models | tests
    assert len(tests) == 3
    assert {(source, target) for _, source, target in found.edges} == edges_of(tmp_path)
    assert not any("dbt_test__audit" in name for name in found.addresses)

    first, second = found.all_of("dbt-run-shop")
    built, broken = found.all_of("model.shop.orders")
    assert (built.succeeded, built.parent_id, broken.succeeded, broken.parent_id) == (True, first.id, False, second.id)
    assert built.said["statements"]["total"] > 1
    assert broken.said["statements"]["failed"] == 1
    assert "no_such_column" in broken.error
    assert built.facts["tags"] == ["finance", "owner:sales"]

    assert [run.outcome for run in found.all_of("model.shop.daily")] == [None, "aborted"]
    (failing,) = (name for name in tests if "accepted_values" in name)
    failed, skipped = found.all_of(failing)
    assert failed.checks() == (1, 1, 0)
    assert (skipped.outcome, skipped.checks()) == ("aborted", (0, 0, 0))
