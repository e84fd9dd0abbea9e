"""What is known after events were applied, as rows."""

from typing import Any

from sqlalchemy import Engine, text


def rows(engine: Engine, statement: str, **parameters: Any) -> list[dict[str, Any]]:
    """The rows of a statement."""
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(text(statement), parameters).mappings()]


def write(engine: Engine, statement: str, **parameters: Any) -> None:
    """Change something by hand."""
    with engine.begin() as connection:
        connection.execute(text(statement), parameters)


def executions(engine: Engine) -> list[dict[str, Any]]:
    """All executions with the names of their pipelines, in the order of their starts."""
    return rows(
        engine,
        """
        SELECT execution.*, pipeline.name AS pipeline FROM pipeline_execution AS execution
        JOIN pipeline ON pipeline.id = pipeline_id ORDER BY execution.start_date, execution.id
        """,
    )


def by_pipeline(engine: Engine) -> dict[str, dict[str, Any]]:
    """The latest execution of each pipeline, by the pipeline's name without its namespace."""
    return {row["pipeline"].partition("/")[2]: row for row in executions(engine)}


def said(run: dict[str, Any]) -> dict[str, Any]:
    """What an execution keeps of its run."""
    kept: dict[str, Any] = run["execution_metadata"]["openlineage"]
    return kept


def pipelines(engine: Engine) -> dict[str, dict[str, Any]]:
    """All pipelines that are not forgotten, by name, each with the name of its type."""
    statement = """
        SELECT pipeline.*, pipeline_type.name AS type FROM pipeline
        JOIN pipeline_type ON pipeline_type.id = pipeline_type_id WHERE forgotten_at IS NULL
    """
    return {row["name"]: row for row in rows(engine, statement)}


def addresses(engine: Engine) -> dict[str, dict[str, Any]]:
    """All addresses by name, each with the names of its type and that type's group."""
    statement = """
        SELECT address.*, address_type.name AS type, group_name FROM address
        JOIN address_type ON address_type.id = address_type_id
    """
    return {row["name"]: row for row in rows(engine, statement)}


def edges(engine: Engine) -> set[tuple[str, str]]:
    """The edges as source and target, without the part of a name that all of them share."""
    found = rows(
        engine,
        """
        SELECT source.name AS source, target.name AS target FROM address_lineage
        JOIN address AS source ON source.id = source_address_id JOIN address AS target ON target.id = target_address_id
        """,
    )
    return {(_short(row["source"]), _short(row["target"])) for row in found}


def alerts(engine: Engine) -> list[dict[str, Any]]:
    """What people were told, in order."""
    return rows(engine, "SELECT level, title, message, details FROM alert ORDER BY id")


def _short(name: str) -> str:
    return name.removeprefix("postgres://wh:5432/")
