"""Whether a load of lineage would change anything: one statement that writes nothing."""

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from watcher_server.addresses.schemas import AddressPost
from watcher_server.addresses.sync import spellings
from watcher_server.database.statements import numbered
from watcher_server.lineage.closure import LOADED_AND_KNOWN
from watcher_server.lineage.schemas import AddressLineagePost

# With more addresses, hashing all of them would hold up other requests; a load in a transaction takes them in turns.
_MOST_ADDRESSES = 200

# Names by the unique indexes on address.name and address_type.name, edges by the unique index on (pipeline_id,
# source_address_id, target_address_id). The closure is right around the addresses when it knows the edges that there
# are, and no rebuild has left sources over.
_STANDING = numbered(f"""
SELECT CASE WHEN NOT (load_lineage OR %(replace)s::boolean) THEN 0 WHEN %(number)s::bigint > 0 THEN (
    WITH found (id, is_target) AS MATERIALIZED (
        SELECT address.id, wanted.is_target
        FROM unnest(
            %(names)s::text[], %(fingerprints)s::text[], %(sensitive)s::boolean[], %(types)s::text[],
            %(targets)s::boolean[]
        ) AS wanted (name, fingerprint, case_sensitive, type_name, is_target)
        JOIN address_type
            ON address_type.name = wanted.type_name AND address_type.case_sensitive = wanted.case_sensitive
        JOIN address ON address.name = wanted.name
        WHERE address.fingerprint = wanted.fingerprint AND archived_at IS NULL
    ), edge (source, target) AS MATERIALIZED (
        SELECT DISTINCT source.id, target.id FROM found AS source CROSS JOIN found AS target
        WHERE NOT source.is_target AND target.is_target
    ), connected (id) AS MATERIALIZED (
        SELECT DISTINCT id FROM found
    ), {LOADED_AND_KNOWN}
    SELECT count(*) FROM edge
    HAVING (SELECT count(*) FROM found) = %(number)s
        AND count(*) = (
            SELECT count(*) FROM address_lineage WHERE pipeline_id = %(id)s AND origin = 'declared'
        )
        AND NOT EXISTS (
            SELECT FROM edge WHERE NOT EXISTS (
                SELECT FROM address_lineage
                WHERE pipeline_id = %(id)s AND source_address_id = source AND target_address_id = target
                    AND origin = 'declared'
            )
        )
        AND NOT EXISTS (SELECT FROM archived_address_lineage WHERE pipeline_id = %(id)s AND origin = 'declared')
        AND NOT EXISTS (SELECT FROM address_lineage_pending)
        AND NOT EXISTS (TABLE loaded EXCEPT TABLE known)
        AND NOT EXISTS (TABLE known EXCEPT TABLE loaded)
) END
FROM pipeline WHERE id = %(id)s AND archived_at IS NULL AND forgotten_at IS NULL
""")  # noqa: S608 - a constant


async def find_standing(connection: AsyncConnection[TupleRow], body: AddressLineagePost) -> int | None:
    """How many edges the pipeline has, if they, the addresses and the closure are as a load would leave them.

    0 for a pipeline whose lineage only a body with ``replace`` loads. None where a load has something to do, and where
    there is no such pipeline.
    """
    bodies = [(address, False) for address in body.source_addresses]
    bodies += [(address, True) for address in body.target_addresses]
    if len(bodies) > _MOST_ADDRESSES or _differ([address for address, _ in bodies]):
        bodies = []
    rows = [
        (*spelling, is_sensitive, address.address_type_name, is_target)
        for address, is_target in bodies
        for spelling, is_sensitive in zip(spellings(address), (False, True), strict=True)
    ]
    columns = zip(*rows, strict=True) if rows else ((),) * 5
    parameters = dict(zip(("names", "fingerprints", "sensitive", "types", "targets"), map(list, columns), strict=True))
    row = await _STANDING.fetch_one(
        connection, {**parameters, "id": body.pipeline_id, "replace": body.replace, "number": len(bodies)}
    )
    return None if row is None else row[0]


def _differ(addresses: list[AddressPost]) -> bool:
    """Whether two of them say different things of one name: a load merges them."""
    said: dict[str, dict[str, object]] = {}
    return any(said.setdefault(address.name, address.carried()) != address.carried() for address in addresses)
