"""Run in the environment of dbt: `python write_artifacts.py FOLDER` builds the shop and leaves each command's files.

``broken`` has a model and a test that fail and a source that is stale, ``mended`` none of these; ``run`` is of
`dbt run`.
"""

import os
import sys
from pathlib import Path

import duckdb
from dbt.cli.main import dbtRunner

PROJECT = Path(__file__).parent / "project"
MENDED = "{column: code, most: 1000}"
TABLES = """
CREATE TABLE raw_orders AS
SELECT * FROM (VALUES (1, 'de', 1), (2, 'fr', 7)) AS orders (id, country, amount), (SELECT now() AS loaded_at);
CREATE TABLE raw_customers AS SELECT 1 AS id, TIMESTAMPTZ '2024-01-01 00:00:00+00' AS loaded_at;
"""


def execute(statements: str) -> None:
    with duckdb.connect(os.environ["SHOP_DATABASE"]) as connection:
        connection.execute(statements)


def dbt(target: Path, *command: str) -> None:
    folders = ["--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT), "--log-path", str(target)]
    dbtRunner().invoke([*command, *folders, "--target-path", str(target), "--quiet"])


def main(folder: Path) -> None:
    os.environ["SHOP_DATABASE"] = str(folder / "shop.duckdb")
    execute(TABLES)
    dbt(folder / "broken", "build")
    dbt(folder / "broken", "source", "freshness")
    execute("UPDATE raw_customers SET loaded_at = now()")
    dbt(folder / "mended", "build", "--vars", MENDED)
    dbt(folder / "mended", "source", "freshness")
    dbt(folder / "run", "run", "--vars", MENDED)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
