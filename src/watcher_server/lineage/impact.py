"""What lies downstream: of an address, and of what a pipeline writes."""

from collections.abc import Sequence

from sqlalchemy import Connection, text

# The targets by the unique index on (pipeline_id, source_address_id, target_address_id), what they reach by the primary
# key of the closure.
_COUNT_DOWNSTREAM = """
WITH written AS (
    SELECT DISTINCT pipeline_id, target_address_id AS id
    FROM address_lineage WHERE pipeline_id = ANY(CAST(:pipeline_ids AS bigint[]))
)
SELECT written.pipeline_id, count(DISTINCT closure.target_address_id) AS number
FROM written JOIN address_lineage_closure AS closure ON closure.source_address_id = written.id
WHERE NOT EXISTS (
    SELECT FROM written AS own WHERE own.pipeline_id = written.pipeline_id AND own.id = closure.target_address_id
)
GROUP BY written.pipeline_id
"""


def count_downstream(connection: Connection, pipeline_ids: Sequence[int]) -> dict[int, int]:
    """How many addresses lie downstream of what each pipeline writes, its own targets not counted; none is left out.

    As the closure has it, which is brought up to date within seconds of a change of lineage.
    """
    rows = connection.execute(text(_COUNT_DOWNSTREAM), {"pipeline_ids": list(pipeline_ids)})
    return {row.pipeline_id: row.number for row in rows}


def downstream_text(count: int) -> str:
    """How an alert puts it; empty for none."""
    return f"{count:,} address{'' if count == 1 else 'es'} downstream" if count else ""
