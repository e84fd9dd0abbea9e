"""Get-or-create for any number of addresses at once, in a fixed number of statements.

Callers with overlapping addresses take turns instead of deadlocking: types come before addresses, new addresses
before changed ones, and each group is locked in the order of its names.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.addresses.schemas import AddressColumns, AddressPost
from watcher_server.kit.fingerprint import fingerprint

_PART_LENGTH = 50


@dataclass(frozen=True)
class SyncedAddress:
    """The id of an address, and whether this call created it."""

    id: int
    created: bool


@dataclass(frozen=True)
class _Stored:
    id: int
    fingerprint: str | None


_Declared = dict[str, Any]


def _dotted_parts(name: str) -> dict[str, str]:
    """Database, schema and table of a name of three dotted parts; nothing when it is any other name."""
    parts = [part.strip() for part in name.split(".")]
    if len(parts) != len(("database", "schema", "table")):
        return {}
    if not all(0 < len(part) <= _PART_LENGTH for part in parts):
        return {}
    return dict(zip(("database_name", "schema_name", "table_name"), parts, strict=True))


def _merge_by_name(bodies: Iterable[AddressPost]) -> dict[str, dict[str, Any]]:
    """What is carried for each name; of a field that several bodies of one name carry, the last counts."""
    merged: dict[str, dict[str, Any]] = {}
    for body in bodies:
        merged.setdefault(body.name, {}).update(body.carried())
    return merged


def _declare(carried: dict[str, Any]) -> _Declared:
    return {
        "name": carried["name"],
        "type_name": carried["address_type_name"],
        "group_name": carried["address_type_group_name"],
        "fingerprint": fingerprint(carried),
        "carried": {column: value for column, value in carried.items() if column in AddressColumns.model_fields},
        "parts": _dotted_parts(carried["name"]),
    }


async def sync_addresses(session: AsyncSession, bodies: Iterable[AddressPost]) -> dict[str, SyncedAddress]:
    """Get or create each address, by name.

    A body that differs from the last one updates its row and sets ``updated_at``; an unchanged one writes nothing.
    Several bodies with one name are one body, later fields over earlier ones. A missing type is created, an existing
    one is left as it is.
    """
    declared = {name: _declare(carried) for name, carried in _merge_by_name(bodies).items()}
    stored = await _read_stored(session, declared)
    created: set[str] = set()
    # More than one turn only when something was renamed while this waited for its rows.
    while pending := _differing(declared, stored):
        await _create_missing_types(session, pending)
        created |= await _create_addresses(session, [row for row in pending if row["name"] not in stored])
        await _update_addresses(session, [row for row in pending if row["name"] in stored])
        stored = await _read_stored(session, declared)
    return {name: SyncedAddress(row.id, name in created) for name, row in stored.items()}


def _differing(declared: Mapping[str, _Declared], stored: Mapping[str, _Stored]) -> list[_Declared]:
    """What is new or not as it was declared last."""
    return [
        row for name, row in declared.items() if name not in stored or stored[name].fingerprint != row["fingerprint"]
    ]


# By the unique index on address.name.
_READ_STORED = """
SELECT name, id, fingerprint
FROM address JOIN unnest(CAST(:names AS text[])) AS wanted (name) USING (name)
"""


async def _read_stored(session: AsyncSession, names: Iterable[str]) -> dict[str, _Stored]:
    rows = await session.execute(text(_READ_STORED), {"names": list(names)})
    return {name: _Stored(id_, mark) for name, id_, mark in rows}


# By the unique index on address_type.name, which also decides between callers with the same new type.
_CREATE_TYPES = """
INSERT INTO address_type (name, group_name)
SELECT wanted.name, wanted.group_name
FROM unnest(CAST(:names AS text[]), CAST(:groups AS text[])) AS wanted (name, group_name)
WHERE NOT EXISTS (SELECT FROM address_type WHERE address_type.name = wanted.name)
ORDER BY wanted.name
ON CONFLICT (name) DO NOTHING
"""


async def _create_missing_types(session: AsyncSession, rows: Iterable[_Declared]) -> None:
    groups = {row["type_name"]: row["group_name"] for row in rows}
    await session.execute(text(_CREATE_TYPES), {"names": list(groups), "groups": list(groups.values())})


# The group is that of the stored type, which may not be the one that the request names. An address reaches itself
# from the first moment, so its closure row comes with it.
_CREATE_ADDRESSES = """
WITH created AS (
    INSERT INTO address (
        name, address_type_id, fingerprint,
        database_name, schema_name, table_name, primary_key, address_metadata
    )
    SELECT declared.name, address_type.id, declared.fingerprint,
        filled.database_name, filled.schema_name, filled.table_name, filled.primary_key, filled.address_metadata
    FROM jsonb_to_recordset(CAST(:declared AS jsonb))
        AS declared (name text, type_name text, fingerprint text, carried jsonb, parts jsonb)
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


async def _create_addresses(session: AsyncSession, rows: list[_Declared]) -> set[str]:
    created = await session.scalars(text(_CREATE_ADDRESSES), {"declared": json.dumps(rows)})
    return set(created)


# NO KEY: edges that are loaded meanwhile refer to these rows, and neither side needs to wait for the other.
_LOCK_CHANGED = """
SELECT FROM address JOIN unnest(CAST(:names AS text[])) AS wanted (name) USING (name)
ORDER BY name FOR NO KEY UPDATE OF address
"""

# What is left out keeps its value. The parts of the name are filled in when the address becomes one of a database, so
# that one which is cleared afterwards stays cleared.
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


async def _update_addresses(session: AsyncSession, rows: list[_Declared]) -> None:
    await session.execute(text(_LOCK_CHANGED), {"names": [row["name"] for row in rows]})
    await session.execute(text(_UPDATE_ADDRESSES), {"declared": json.dumps(rows)})
