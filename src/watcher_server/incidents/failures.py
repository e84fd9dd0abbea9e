"""How a failed run is told: where it stands in the run at the top, its error, and what may have caused it."""

from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, text

from watcher_server.executions.code_changes import describe_changes
from watcher_server.telemetry.redaction import redact

_LOG_URL = """
SELECT execution_metadata #>> '{openlineage,log_url}' FROM pipeline_execution WHERE id = :execution_id
"""

# Others that failed in the same run at the top: neither called by this one, nor callers of it.
_BESIDE = """
SELECT coalesce(pipeline.display_name, pipeline.name) AS name, count(*) OVER () AS number
FROM pipeline_execution_closure AS tree
JOIN pipeline_execution AS run ON run.id = tree.child_execution_id
JOIN pipeline ON pipeline.id = run.pipeline_id
WHERE tree.parent_execution_id = :top_id AND tree.depth > 0 AND run.end_date IS NOT NULL
    AND NOT run.completed_successfully AND run.outcome IS NULL AND NOT EXISTS (
        SELECT FROM pipeline_execution_closure AS related
        WHERE (related.parent_execution_id, related.child_execution_id)
            IN ((run.id, :execution_id), (:execution_id, run.id))
    )
ORDER BY run.end_date, run.id LIMIT :named
"""


class FailureText(NamedTuple):
    """How the message begins: which pipeline failed, or which one did in the run at the top; and lines to add to it."""

    subject: str
    details: list[tuple[str, str]]


def describe_failure(connection: Connection, row: Row[Any]) -> FailureText:
    """What to say of a failed run besides its whole error; ``row`` has its pipeline, ``latest_id`` and ``error``."""
    execution_id = row.latest_id
    subject = f"Pipeline '{row.name}' (ID: {row.id}) failed"
    details = []
    # By ix_pipeline_execution_closure_child_execution_id: the top is the most distant caller.
    statement = """
        SELECT top.id, pipeline.id AS pipeline_id, coalesce(pipeline.display_name, pipeline.name) AS name
        FROM (
            SELECT parent_execution_id FROM pipeline_execution_closure
            WHERE child_execution_id = :execution_id AND depth > 0 ORDER BY depth DESC LIMIT 1
        ) AS tree
        JOIN pipeline_execution AS top ON top.id = tree.parent_execution_id
        JOIN pipeline ON pipeline.id = top.pipeline_id
    """
    top = connection.execute(text(statement), {"execution_id": execution_id}).one_or_none()
    if top is not None:
        subject = f"Pipeline '{top.name}' (ID: {top.pipeline_id}) failed: '{row.name}' (ID: {row.id})"
        if row.error:
            subject += f": {first_line(row.error)}"
        beside = connection.execute(text(_BESIDE), {"top_id": top.id, "execution_id": execution_id, "named": 3}).all()
        if beside:
            others = beside[0].number - len(beside)
            names = ", ".join(other.name for other in beside) + (f" and {others:,} more" if others else "")
            details.append(("Also failed in this run", names))
    log_url = connection.scalar(text(_LOG_URL), {"execution_id": execution_id})
    if log_url and log_url.startswith(("http://", "https://")):
        details.append(("Log", log_url))
    changes = describe_changes(connection, execution_id)
    if changes:
        details.append(("Since the last success", ", ".join(changes)))
    return FailureText(subject, details)


def first_line(error: str) -> str:
    """The first line of an error, without secrets."""
    lines = redact(error).strip().splitlines()
    return lines[0][:200] if lines else ""
