"""Rebuilds of the same closure that wait together are done as one."""

from typing import Any

import psycopg

COALESCED_TASK = "address_lineage_closure_rebuild_task"

# By the primary key of the outbox: of the tasks that wait, the oldest ones about the same pipeline. A task with
# addresses that are no ids stays out, because it would make the others fail.
_ABSORB = """
WITH taken AS (
    DELETE FROM outbox WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM outbox
        WHERE task_name = %(name)s AND due_at <= now() AND kwargs -> 'pipeline_id' = %(pipeline_id)s::text::jsonb
            AND jsonb_typeof(kwargs -> 'connected_addresses') = 'array' AND options IS NULL
            AND NOT jsonb_path_exists(kwargs, 'strict $.connected_addresses[*]
                ? (@.type() != "number" || !(@ > 0 && @ <= 9223372036854775807))', silent => true)
            AND task_id <> %(leader)s::uuid
        ORDER BY due_at, id LIMIT %(most)s FOR UPDATE SKIP LOCKED
    ))
    RETURNING *
), recorded AS (
    INSERT INTO task (id, name, kwargs, queue, state, retries, pipeline_id, created_at, published_at, finished_at,
        coalesced_into, context)
    SELECT DISTINCT ON (task_id) task_id, task_name, kwargs, queue, 'COALESCED', retries,
        watcher_task_subject(kwargs, '{pipeline_id}'), created_at, clock_timestamp(), clock_timestamp(),
        %(leader)s::uuid, context
    FROM taken
    ON CONFLICT (id) DO UPDATE SET state = 'COALESCED', coalesced_into = excluded.coalesced_into,
        finished_at = excluded.finished_at
    WHERE task.state <> 'SUCCESS'
), followed AS (
    -- By ix_task_coalesced_into. A coalesced task never points at another coalesced task.
    UPDATE task SET coalesced_into = %(leader)s::uuid FROM taken WHERE task.coalesced_into = taken.task_id
), joined AS (
    SELECT address FROM taken, jsonb_array_elements(kwargs -> 'connected_addresses') AS listed (address)
    UNION
    SELECT address FROM jsonb_array_elements(%(addresses)s::text::jsonb) AS own (address)
)
UPDATE task SET kwargs = jsonb_set(kwargs, '{connected_addresses}',
    (SELECT coalesce(jsonb_agg(address ORDER BY address), '[]') FROM joined))
WHERE id = %(leader)s::uuid AND EXISTS (SELECT FROM taken)
RETURNING kwargs
"""


def absorb_alike(connection: psycopg.Connection[Any], task_id: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments with which this task does the work of all that wait too and are alike; they end in its state."""
    if not _is_well_formed(kwargs):
        return kwargs
    values = {
        "name": COALESCED_TASK,
        "leader": task_id,
        "pipeline_id": str(kwargs["pipeline_id"]),
        "addresses": str(kwargs["connected_addresses"]),
        "most": 1_000,
    }
    row = connection.execute(_ABSORB, values).fetchone()
    return kwargs if row is None else dict(row[0])


def _is_well_formed(kwargs: dict[str, Any]) -> bool:
    addresses = kwargs.get("connected_addresses")
    ids = [kwargs.get("pipeline_id"), *addresses] if isinstance(addresses, list) else [None]
    return all(type(value) is int and 0 < value <= 2**63 - 1 for value in ids)
