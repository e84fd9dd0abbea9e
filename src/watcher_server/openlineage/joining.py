"""Joining a dataset to an address that was there under another name."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.audit.service import Change, record
from watcher_server.database.locks import OPENLINEAGE_LOCK
from watcher_server.kit.errors import NotFoundError
from watcher_server.lineage.service import NO_PIPELINE, REBUILD_TASK
from watcher_server.openlineage.applying.places import describe_addresses
from watcher_server.tasking.sending.outbox import enqueue
from watcher_server.tasking.wire import SCHEDULED_QUEUE

_ADDRESS = """
SELECT id, archived_at, coalesce(display_name, name) AS name FROM address
WHERE id = :id AND forgotten_at IS NULL FOR NO KEY UPDATE
"""
_POINT = """
UPDATE openlineage_dataset SET address_id = :new, disabled = false
WHERE key = :key OR (address_id = CAST(:old AS bigint) AND NOT disabled)
"""
_MOVE_CHANGES = "UPDATE address_schema_change SET address_id = :new WHERE address_id = :old"
# By ix_address_lineage_downstream and ix_address_lineage_upstream. An edge that was declared stays a declared one.
_MOVE_EDGES = """
WITH moved AS (
    DELETE FROM address_lineage
    WHERE origin = 'openlineage' AND (source_address_id = :old OR target_address_id = :old)
    RETURNING pipeline_id, source_address_id AS source, target_address_id AS target, last_seen_at
), added AS (
    INSERT INTO address_lineage AS edge (pipeline_id, source_address_id, target_address_id, origin, last_seen_at)
    SELECT pipeline_id, CASE source WHEN :old THEN :new ELSE source END,
        CASE target WHEN :old THEN :new ELSE target END, 'openlineage', max(last_seen_at)
    FROM moved GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    ON CONFLICT (pipeline_id, source_address_id, target_address_id) DO UPDATE
        SET last_seen_at = greatest(edge.last_seen_at, excluded.last_seen_at) WHERE edge.origin = 'openlineage'
)
SELECT source, target FROM moved
"""
# An address that only the dataset used is left over.
_RETIRE = """
UPDATE address SET archived_at = now()
WHERE id = :old AND archived_at IS NULL AND NOT EXISTS (
    SELECT FROM address_lineage WHERE source_address_id = :old OR target_address_id = :old
)
"""
# By ix_openlineage_dataset_address_id; only where a dataset made the address, one pass through the others.
_PROPOSED = """
SELECT dataset.key, dataset.namespace, dataset.name, other.id, coalesce(other.display_name, other.name) AS shown_name
FROM address
JOIN openlineage_dataset AS dataset ON dataset.address_id = address.id AND NOT dataset.alias AND NOT dataset.disabled
JOIN address AS other ON other.id <> address.id AND other.archived_at IS NULL AND other.forgotten_at IS NULL
    AND (other.database_name, other.schema_name, other.table_name)
        = (address.database_name, address.schema_name, address.table_name)
WHERE address.id = :id AND address.archived_at IS NULL
    AND NOT EXISTS (SELECT FROM openlineage_dataset AS known WHERE known.address_id = other.id)
ORDER BY length(other.name), other.name, dataset.key
LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Proposal:
    """An address that may be the same table as a dataset: the last three parts of their names agree."""

    dataset_key: UUID
    address_id: int
    shown_name: str


async def read_proposal(session: AsyncSession, address_id: int) -> Proposal | None:
    """The other address that the dataset of this one may be; None where there is none, or no dataset made this one."""
    row = (await session.execute(text(_PROPOSED), {"id": address_id})).first()
    return None if row is None else Proposal(row.key, row.id, row.shown_name)


def join_dataset(connection: Connection, dataset_key: UUID, address_id: int) -> int:
    """From now on this dataset is that address; how many edges that events showed moved to it.

    All datasets that were one address so far stay one. What was declared for the old address stays there. Where no
    edge is left of it, the old address goes to the archive. A new one that is archived comes back.

    The transaction waits until the turn that is under way is applied. Other datasets may be that address already.

    Raises:
        NotFoundError: no event has named the dataset, or there is no such address.
    """
    # A turn that goes on would write edges of the old address once this is done. A turn is short.
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": OPENLINEAGE_LOCK})
    find = text("SELECT address_id, namespace, name FROM openlineage_dataset WHERE key = :key FOR UPDATE")
    dataset = connection.execute(find, {"key": dataset_key}).one_or_none()
    if dataset is None:
        raise NotFoundError("No event has named this dataset.")
    address = connection.execute(text(_ADDRESS), {"id": address_id}).one_or_none()
    if address is None:
        raise NotFoundError(f"No address has the id {address_id}.")
    if address.archived_at is not None:
        connection.execute(text("UPDATE address SET archived_at = NULL WHERE id = :id"), {"id": address_id})
        enqueue(connection, "revive_task", SCHEDULED_QUEUE, pipeline_ids=[], address_ids=[address_id])
    old = dataset.address_id
    joined = {"dataset": f"{dataset.namespace}/{dataset.name}", "address_id": address_id}
    record(connection, Change("join", "address", address_id, address.name, {"address_id": old}, joined))
    ends = {"old": old, "new": address_id}
    connection.execute(text(_POINT), {"key": dataset_key, **ends})
    if old in {None, address_id}:
        describe_addresses(connection, [address_id])
        return 0
    connection.execute(text(_MOVE_CHANGES), ends)
    moved = [tuple(row) for row in connection.execute(text(_MOVE_EDGES), ends)]
    connection.execute(text(_RETIRE), ends)
    describe_addresses(connection, [old, address_id])
    changed = sorted({old, address_id, *(end for edge in moved for end in edge)})
    enqueue(connection, REBUILD_TASK, connected_addresses=changed, pipeline_id=NO_PIPELINE)
    return len(moved)
