"""What is another one in a run than in the last success before it, as far as the runs say: the SQL and the code."""

from sqlalchemy import Connection, text

# Backwards by ix_pipeline_execution_pipeline_id_start_date.
_CHANGED = """
SELECT run.said ->> 'sql_hash' <> before.said ->> 'sql_hash' AS sql,
    run.said ->> 'code_version' <> before.said ->> 'code_version' AS code,
    before.said ->> 'code_version' AS old_version, run.said ->> 'code_version' AS new_version
FROM (
    SELECT id, pipeline_id, start_date, execution_metadata -> 'openlineage' AS said
    FROM pipeline_execution WHERE id = :execution_id
) AS run
CROSS JOIN LATERAL (
    SELECT said FROM (
        SELECT execution.id, execution.start_date, completed_successfully,
            execution_metadata -> 'openlineage' AS said
        FROM pipeline_execution AS execution
        WHERE execution.pipeline_id = run.pipeline_id AND NOT backfill
            AND (execution.start_date, execution.id) < (run.start_date, run.id)
        ORDER BY execution.start_date DESC, execution.id DESC LIMIT :most
    ) AS recent
    WHERE completed_successfully ORDER BY start_date DESC, id DESC LIMIT 1
) AS before
"""


def describe_changes(connection: Connection, execution_id: int) -> list[str]:
    """What changed since the last success: none, ``SQL changed``, ``code changed from 1a2b to 3c4d``, or both."""
    # The runs before it that are looked through for a success.
    most = 1_000
    row = connection.execute(text(_CHANGED), {"execution_id": execution_id, "most": most}).one_or_none()
    if row is None:
        return []
    said = ["SQL changed"] if row.sql else []
    return [*said, f"code changed from {row.old_version} to {row.new_version}"] if row.code else said
