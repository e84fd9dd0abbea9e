"""Assets that are made of each other, of which the last fails, and the sensor that reports their runs."""

from dagster import (
    AssetCheckResult,
    AssetKey,
    Definitions,
    MaterializeResult,
    TableColumn,
    TableColumnDep,
    TableColumnLineage,
    TableSchema,
    asset,
    asset_check,
    define_asset_job,
)
from dagster_openlineage import openlineage_sensor


@asset
def raw_orders() -> MaterializeResult:
    """Orders, with their columns."""
    columns = [TableColumn("country", "text"), TableColumn("amount", "integer")]
    return MaterializeResult(metadata={"dagster/column_schema": TableSchema(columns=columns)})


@asset(deps=[raw_orders])
def daily() -> MaterializeResult:
    """Revenue by country, of a column of the orders."""
    amount = TableColumnDep(asset_key=AssetKey("raw_orders"), column_name="amount")
    lineage = TableColumnLineage(deps_by_column={"revenue": [amount]})
    return MaterializeResult(metadata={"dagster/column_lineage": lineage, "dagster/row_count": 2})


@asset_check(asset=daily)
def is_complete() -> AssetCheckResult:
    """Find a day without orders."""
    return AssetCheckResult(passed=False)


@asset(deps=[daily])
def board() -> None:
    """Fail as a load does."""
    raise ValueError("the warehouse is away")


defs = Definitions(
    assets=[raw_orders, daily, board],
    asset_checks=[is_complete],
    jobs=[
        define_asset_job("shop", selection=["raw_orders", "daily"]),
        define_asset_job("boards", selection=["board"]),
    ],
    # More records a time than the usual 30, so that one turn of the sensor reports all of them.
    sensors=[openlineage_sensor(include_asset_events=True, record_filter_limit=1_000)],
)
