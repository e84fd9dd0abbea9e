"""Edges: which addresses a pipeline's runs were seen to read and write."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, text

from watcher_server.lineage.service import MAX_EDGES_PER_PIPELINE, NO_PIPELINE, REBUILD_TASK
from watcher_server.tasking.sending.outbox import enqueue

Edge = tuple[int, int, int]

# An edge that was declared stays a declared one. When one was last seen is kept to a day, so that most runs write
# nothing here. What left with an archived pipeline or address is no edge until that comes back.
_STORE = """
INSERT INTO address_lineage AS edge (pipeline_id, source_address_id, target_address_id, origin, last_seen_at)
SELECT wanted.pipeline_id, wanted.source, wanted.target, 'openlineage', wanted.seen
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS wanted (
    pipeline_id bigint, source bigint, target bigint, seen timestamptz
)
ORDER BY 1, 2, 3
ON CONFLICT (pipeline_id, source_address_id, target_address_id) DO UPDATE SET last_seen_at = excluded.last_seen_at
    WHERE edge.origin = 'openlineage' AND edge.last_seen_at < excluded.last_seen_at - interval '1 day'
RETURNING source_address_id, target_address_id, xmax = 0 AS added
"""

# An edge that was not seen for long leaves, if its pipeline ran successfully meanwhile: by
# ix_address_lineage_last_seen_at, and for the few by ix_pipeline_execution_baseline.
_EXPIRE = """
WITH left_over AS (
    DELETE FROM address_lineage AS edge
    WHERE edge.origin = 'openlineage' AND edge.last_seen_at < now() - make_interval(days => :edge_days)
        AND EXISTS (
            SELECT FROM pipeline_execution AS execution
            WHERE execution.pipeline_id = edge.pipeline_id AND execution.completed_successfully
                AND execution.start_date > edge.last_seen_at + interval '1 day'
                AND execution.end_date > edge.last_seen_at + interval '1 day'
        )
    RETURNING source_address_id, target_address_id
)
SELECT source_address_id FROM left_over UNION SELECT target_address_id FROM left_over
"""

_DROP = """
WITH dropped AS (
    DELETE FROM address_lineage AS edge
    USING unnest(CAST(:ids AS bigint[]), CAST(:moments AS timestamptz[])) AS gone (id, at)
    WHERE origin = 'openlineage' AND last_seen_at <= gone.at
        AND (edge.target_address_id = gone.id OR edge.source_address_id = gone.id)
    RETURNING source_address_id, target_address_id
)
SELECT source_address_id FROM dropped UNION SELECT target_address_id FROM dropped
"""

# What a job or a dataset says by itself is all that it says: what it left out goes, unless a run showed it later.
_REPLACE = """
WITH declared AS (
    SELECT * FROM unnest(CAST(:pipelines AS bigint[]), CAST(:targets AS bigint[]), CAST(:moments AS timestamptz[]))
        AS declared (pipeline_id, target, at)
), kept AS (
    SELECT * FROM unnest(CAST(:kept AS bigint[]), CAST(:kept_sources AS bigint[]), CAST(:kept_targets AS bigint[]))
        AS kept (pipeline_id, source, target)
), left_out AS (
    DELETE FROM address_lineage AS edge USING declared
    WHERE edge.pipeline_id = declared.pipeline_id AND edge.origin = 'openlineage' AND edge.last_seen_at <= declared.at
        AND (declared.target IS NULL OR declared.target = edge.target_address_id)
        AND NOT EXISTS (
            SELECT FROM kept WHERE kept.pipeline_id = edge.pipeline_id
                AND kept.source = edge.source_address_id AND kept.target = edge.target_address_id
        )
    RETURNING source_address_id, target_address_id
)
SELECT source_address_id FROM left_out UNION SELECT target_address_id FROM left_out
"""


class Declaration(NamedTuple):
    """A pipeline's edges, or those to one ``target``, were told as a whole at that moment."""

    pipeline_id: int
    target: int | None
    at: datetime


def store_edges(connection: Connection, edges: Mapping[Edge, datetime]) -> int:
    """Add these edges, with when they were seen, and have the closure rebuilt around the new ones; how many are new."""
    if not edges:
        return 0
    numbers: dict[int, int] = {}
    rows = []
    for (pipeline_id, source, target), seen in sorted(edges.items()):
        numbers[pipeline_id] = numbers.get(pipeline_id, 0) + 1
        if numbers[pipeline_id] <= MAX_EDGES_PER_PIPELINE:
            rows.append({"pipeline_id": pipeline_id, "source": source, "target": target, "seen": seen.isoformat()})
    added = [row for row in connection.execute(text(_STORE), {"rows": json.dumps(rows)}).all() if row.added]
    rebuild(connection, {end for row in added for end in (row.source_address_id, row.target_address_id)})
    return len(added)


def replace_edges(connection: Connection, declared: Sequence[Declaration], kept: Iterable[Edge]) -> None:
    """Remove the edges that these declarations leave out; those that were shown in this turn stay."""
    if declared:
        edges = sorted(kept)
        parameters = {
            "pipelines": [one.pipeline_id for one in declared],
            "targets": [one.target for one in declared],
            "moments": [one.at for one in declared],
            "kept": [edge[0] for edge in edges],
            "kept_sources": [edge[1] for edge in edges],
            "kept_targets": [edge[2] for edge in edges],
        }
        rebuild(connection, set(connection.scalars(text(_REPLACE), parameters)))


def drop_edges(connection: Connection, dropped: Mapping[int, datetime]) -> None:
    """These addresses were dropped at these moments, so no edge that was shown before leads there, or from there."""
    if dropped:
        parameters = {"ids": list(dropped), "moments": list(dropped.values())}
        rebuild(connection, set(connection.scalars(text(_DROP), parameters)))


def expire_edges(connection: Connection, edge_days: int) -> None:
    """Remove the edges that were seen in no run for so many days although their pipelines ran successfully."""
    rebuild(connection, set(connection.scalars(text(_EXPIRE), {"edge_days": edge_days})))


def rebuild(connection: Connection, ends: set[int]) -> None:
    """Have the closure rebuilt around these addresses."""
    if ends:
        enqueue(connection, REBUILD_TASK, connected_addresses=sorted(ends), pipeline_id=NO_PIPELINE)
