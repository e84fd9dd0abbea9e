"""Get-or-create for any number of addresses at once, in a fixed number of statements.

Callers with overlapping addresses take turns instead of deadlocking: types come before addresses, new addresses
before changed ones, and each group is locked in the order of its names.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.addresses.schemas import AddressColumns, AddressPost
from watcher_server.database.names import longest_part
from watcher_server.database.statements import numbered
from watcher_server.kit.fingerprint import fingerprint
from watcher_server.kit.names import display_of
from watcher_server.tasking.sending.outbox import enqueue_async
from watcher_server.tasking.wire import SCHEDULED_QUEUE


class SyncedAddress(NamedTuple):
    """The id of an address, and whether this call created it."""

    id: int
    created: bool


# By the unique index on address.name.
_READ_STORED = """
SELECT name, id, fingerprint, archived_at IS NOT NULL AS archived
FROM address JOIN unnest(CAST(:names AS text[])) AS wanted (name) USING (name)
"""

# By the unique index on address_type.name, which also decides which of several callers creates a new type.
_CREATE_TYPES = """
INSERT INTO address_type (name, group_name, case_sensitive)
SELECT wanted.name, wanted.group_name, wanted.case_sensitive
FROM unnest(CAST(:names AS text[]), CAST(:groups AS text[]), CAST(:sensitive AS boolean[]))
    AS wanted (name, group_name, case_sensitive)
WHERE NOT EXISTS (SELECT FROM address_type WHERE address_type.name = wanted.name)
ORDER BY wanted.name
ON CONFLICT (name) DO NOTHING
"""

# The group is that of the stored type, which may differ from the one in the request. The closure row of depth 0 is
# written with its address.
_CREATE_ADDRESSES = """
WITH created AS (
    INSERT INTO address (
        name, display_name, address_type_id, fingerprint,
        database_name, schema_name, table_name, primary_key, address_metadata
    )
    SELECT declared.name, declared.display_name, address_type.id, declared.fingerprint,
        filled.database_name, filled.schema_name, filled.table_name, filled.primary_key, filled.address_metadata
    FROM jsonb_to_recordset(CAST(:declared AS jsonb))
        AS declared (name text, display_name text, type_name text, fingerprint text, carried jsonb, parts jsonb)
    JOIN address_type ON address_type.name = declared.type_name
    CROSS JOIN LATERAL jsonb_populate_record(
        NULL::address,
        CASE WHEN address_type.group_name = 'database' THEN declared.parts ELSE '{}' END || declared.carried
    ) AS filled
    ORDER BY declared.name
    ON CONFLICT (name) DO NOTHING
    RETURNING id, name
), reaching_itself AS (
    INSERT INTO address_lineage_closure (source_address_id, target_address_id, depth, lineage_path)
    SELECT id, id, 0, ARRAY[id] FROM created
)
SELECT name FROM created
"""

# NO KEY lets other transactions load edges to these rows meanwhile.
_LOCK_CHANGED = """
SELECT FROM address JOIN unnest(CAST(:names AS text[])) AS wanted (name) USING (name)
ORDER BY name FOR NO KEY UPDATE OF address
"""

# A field that is left out keeps its value. The parts of the name are filled in only when the address moves to a type of
# a database, so that a part that a client clears later stays empty.
_UPDATE_ADDRESSES = """
UPDATE address SET
    address_type_id = address_type.id,
    fingerprint = declared.fingerprint,
    updated_at = now(),
    (database_name, schema_name, table_name, primary_key, address_metadata) = (
        SELECT filled.database_name, filled.schema_name, filled.table_name, filled.primary_key,
            filled.address_metadata
        FROM jsonb_populate_record(
            address,
            CASE WHEN address_type.group_name = 'database' AND stored_type.group_name <> 'database'
                THEN declared.parts || jsonb_strip_nulls(jsonb_build_object(
                    'database_name', address.database_name,
                    'schema_name', address.schema_name,
                    'table_name', address.table_name
                ))
                ELSE '{}' END || declared.carried
        ) AS filled
    )
FROM jsonb_to_recordset(CAST(:declared AS jsonb))
    AS declared (name text, type_name text, fingerprint text, carried jsonb, parts jsonb)
JOIN address_type ON address_type.name = declared.type_name
CROSS JOIN address_type AS stored_type
WHERE address.name = declared.name AND stored_type.id = address.address_type_id
    AND address.fingerprint IS DISTINCT FROM declared.fingerprint
"""


# What a body can say of an address.
_COLUMNS = """
SELECT id, name, address_type_id, database_name, schema_name, table_name, primary_key, address_metadata
FROM address WHERE name = ANY(CAST(:names AS text[]))
"""
# By the unique index on address_type.name.
_CASE_SENSITIVE_TYPES = "SELECT name, case_sensitive FROM address_type WHERE name = ANY(CAST(:names AS text[]))"


async def sync_addresses(
    session: AsyncSession, bodies: Sequence[AddressPost], *, before: dict[str, Mapping[str, Any]] | None = None
) -> list[SyncedAddress]:
    """Get or create each address, in the order of the bodies.

    ``before`` receives the columns of those that change as they were, by their names.

    A body that differs from the last one updates its row and sets ``updated_at``; an unchanged one writes nothing.
    Several bodies with one name are merged, later fields over earlier ones. A missing type is created, an existing one
    does not change.
    """
    names = await _names_in_store(session, bodies)
    carried: dict[str, dict[str, Any]] = {}
    for name, body in zip(names, bodies, strict=True):
        display = display_of(body.name)
        fields = carried.setdefault(name, {"name": name, "display_name": None if display == name else display})
        fields.update(_besides_name(body))
    declared = {name: _declare(fields) for name, fields in carried.items()}
    stored = await _read_stored(session, declared)
    created: set[str] = set()
    # A second turn is needed only when an address was renamed while this call waited for its rows.
    while differing := [
        row for name, row in declared.items() if name not in stored or stored[name].fingerprint != row["fingerprint"]
    ]:
        await _create_types(session, differing)
        new = [row for row in differing if row["name"] not in stored]
        created |= set(await session.scalars(text(_CREATE_ADDRESSES), {"declared": json.dumps(new)}))
        changed = [row for row in differing if row["name"] in stored]
        await session.execute(text(_LOCK_CHANGED), {"names": [row["name"] for row in changed]})
        if before is not None and changed:
            rows = (await session.execute(text(_COLUMNS), {"names": [row["name"] for row in changed]})).mappings()
            before.update({row["name"]: dict(row) for row in rows})
        await session.execute(text(_UPDATE_ADDRESSES), {"declared": json.dumps(changed)})
        stored = await _read_stored(session, declared)
    # These leave the archive, because a pipeline names them again.
    archived = [row.id for row in stored.values() if row.archived]
    if archived:
        revive = "UPDATE address SET archived_at = NULL WHERE id = ANY(CAST(:ids AS bigint[]))"
        await session.execute(text(revive), {"ids": archived})
        await enqueue_async(session, "revive_task", SCHEDULED_QUEUE, pipeline_ids=[], address_ids=archived)
    return [SyncedAddress(stored[name].id, name in created) for name in names]


# By the unique indexes on address.name and address_type.name. Which spelling is the name, its type says.
_UNCHANGED = numbered("""
SELECT address.id
FROM unnest(%(names)s::text[], %(fingerprints)s::text[], %(sensitive)s::boolean[])
    AS wanted (name, fingerprint, case_sensitive)
JOIN address ON address.name = wanted.name
JOIN address_type ON address_type.name = %(type_name)s::text AND address_type.case_sensitive = wanted.case_sensitive
WHERE address.fingerprint = wanted.fingerprint AND archived_at IS NULL
""")


async def find_unchanged(connection: AsyncConnection[TupleRow], body: AddressPost) -> int | None:
    """The id of the address, if it is stored as the body says; :func:`sync_addresses` would write nothing."""
    names, fingerprints = zip(*spellings(body), strict=True)
    parameters = {
        "names": list(names),
        "fingerprints": list(fingerprints),
        "sensitive": [False, True],
        "type_name": body.address_type_name,
    }
    row = await _UNCHANGED.fetch_one(connection, parameters)
    return None if row is None else int(row[0])


def spellings(body: AddressPost) -> list[tuple[str, str]]:
    """The name by which the address is stored, and its fingerprint: where case does not count, and where it does."""
    fields = _besides_name(body)
    names = str(body.name), display_of(body.name) or str(body.name)
    return [(name, fingerprint({"name": name, **fields})) for name in names]


async def _names_in_store(session: AsyncSession, bodies: Sequence[AddressPost]) -> list[str]:
    """The name of each: its spelling where its type is case-sensitive, or will be once this call creates it."""
    types = {body.address_type_name for body in bodies if display_of(body.name)}
    if not types:
        return [body.name for body in bodies]
    sensitive = {body.address_type_name: True for body in bodies if body.address_type_case_sensitive}
    rows = await session.execute(text(_CASE_SENSITIVE_TYPES), {"names": list(types)})
    sensitive |= {row.name: row.case_sensitive for row in rows}
    return [
        (display_of(body.name) or body.name) if sensitive.get(body.address_type_name) else body.name for body in bodies
    ]


def _besides_name(body: AddressPost) -> dict[str, Any]:
    return {field: value for field, value in body.carried().items() if field != "name"}


async def _create_types(session: AsyncSession, differing: Sequence[dict[str, Any]]) -> None:
    types: dict[str, tuple[str, bool]] = {}
    for row in differing:
        _, sensitive = types.get(row["type_name"], ("", False))
        types[row["type_name"]] = row["group_name"], sensitive or row["case_sensitive"]
    groups, sensitives = zip(*types.values(), strict=True)
    parameters = {"names": list(types), "groups": list(groups), "sensitive": list(sensitives)}
    await session.execute(text(_CREATE_TYPES), parameters)


def _dotted_parts(name: str) -> dict[str, str]:
    """Database, schema and table of a name with three dotted parts; empty for any other name."""
    parts = [part.strip() for part in name.split(".")]
    names = ("database_name", "schema_name", "table_name")
    if len(parts) != len(names) or not all(0 < len(part) <= longest_part() for part in parts):
        return {}
    return dict(zip(names, parts, strict=True))


def _declare(carried: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": carried["name"],
        "display_name": carried["display_name"],
        "type_name": carried["address_type_name"],
        "group_name": carried["address_type_group_name"],
        "case_sensitive": carried.get("address_type_case_sensitive", False),
        # Not of how the name is spelt: another spelling of the name is no change.
        "fingerprint": fingerprint({field: value for field, value in carried.items() if field != "display_name"}),
        "carried": {column: value for column, value in carried.items() if column in AddressColumns.model_fields},
        "parts": _dotted_parts(carried["name"]),
    }


async def _read_stored(session: AsyncSession, names: Iterable[str]) -> dict[str, Row[Any]]:
    return {row.name: row for row in await session.execute(text(_READ_STORED), {"names": list(names)})}
