"""Ending the mutes of pipelines and types that were given an end."""

from sqlalchemy import Connection, text

# A row that somebody changes at this moment is left to the next minute. Pipelines by ix_pipeline_mute_until.
_END = """
UPDATE {table} SET mute_freshness_check = false, mute_timeliness_check = false, mute_until = NULL, updated_at = now()
WHERE id IN (SELECT id FROM {table} WHERE mute_until <= now() ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)
"""


def end_mutes(connection: Connection) -> int:
    """Unmute what was muted until now; how many. What still holds is found again by the checks, and told."""
    return sum(connection.execute(text(_END.format(table=table))).rowcount for table in ("pipeline", "pipeline_type"))
