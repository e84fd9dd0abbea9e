"""Datasets and their addresses: got or created, described, and known by their other names."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, text

from watcher_server.addresses.creating import CREATE_ADDRESS_TYPES, CREATE_ADDRESSES
from watcher_server.openlineage.describing import describe_dataset
from watcher_server.openlineage.envelope import DatasetName
from watcher_server.openlineage.folding import Facet, join_facets, value_in, value_of
from watcher_server.openlineage.naming import AddressName, address_name
from watcher_server.openlineage.reading import from_micros
from watcher_server.tasking.sending.outbox import enqueue
from watcher_server.tasking.wire import SCHEDULED_QUEUE

_READ = """
SELECT key, namespace, name, alias, disabled, facts, last_seen_at, CASE WHEN EXISTS (
    SELECT FROM address WHERE address.id = address_id AND forgotten_at IS NULL
) THEN address_id END AS address_id
FROM openlineage_dataset
WHERE key = ANY(CAST(:keys AS uuid[])) ORDER BY key FOR UPDATE
"""
_STORE = """
INSERT INTO openlineage_dataset AS dataset (key, namespace, name, address_id, alias, disabled, facts, last_seen_at)
SELECT key, namespace, name, address_id, alias, disabled, facts, last_seen_at
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS wanted (
    key uuid, namespace text, name text, address_id bigint, alias boolean, disabled boolean, facts jsonb,
    last_seen_at timestamptz
)
ORDER BY key
ON CONFLICT (key) DO UPDATE SET address_id = excluded.address_id, alias = excluded.alias,
    disabled = excluded.disabled, facts = excluded.facts, last_seen_at = excluded.last_seen_at
"""

_IDS = "SELECT id, name FROM address WHERE name = ANY(CAST(:names AS text[])) AND forgotten_at IS NULL"
_REVIVE = """
UPDATE address SET archived_at = NULL
WHERE id = ANY(CAST(:ids AS bigint[])) AND archived_at IS NOT NULL AND forgotten_at IS NULL RETURNING id
"""
_FACTS = """
SELECT address_id, namespace, name, facts FROM openlineage_dataset
WHERE address_id = ANY(CAST(:ids AS bigint[])) AND NOT alias ORDER BY address_id, namespace, name
"""
_DESCRIBE = """
UPDATE address SET openlineage = wanted.said, updated_at = nullif(now(), created_at)
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS wanted (id bigint, said jsonb)
WHERE address.id = wanted.id AND address.openlineage IS DISTINCT FROM wanted.said
"""

_DAY: Final = 86_400


@dataclass(slots=True)
class Place:
    """A dataset while a turn looks at it."""

    name: DatasetName
    integration: str
    last: int
    facts: dict[str, Facet] = field(default_factory=dict)
    address_id: int | None = None
    alias: bool = False
    disabled: bool = False
    is_stored: bool = False
    says_more: bool = True


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """The fields of an address are others now."""

    address_id: int
    dataset: DatasetName
    at: datetime
    added: list[str]
    removed: list[str]
    retyped: list[str]


class Places:
    """The datasets of a turn, by key."""

    def __init__(self, connection: Connection, aliases: Mapping[str, str]) -> None:
        self._connection = connection
        self._aliases = aliases
        self.known: dict[UUID, Place] = {}
        self.schema_changes: list[SchemaChange] = []
        # When the datasets of these addresses were dropped, as far as nothing later is known of them.
        self.dropped: dict[int, datetime] = {}

    def see(self, name: DatasetName, integration: str, at: int, facts: Mapping[str, Facet] | None = None) -> None:
        """Note that an event names this dataset, and what it says of it."""
        place = self.known.setdefault(name.key, Place(name, integration, at))
        place.last = max(place.last, at)
        if facts:
            place.facts = join_facets(place.facts, facts)

    def address_of(self, namespace: str, name: str) -> int | None:
        """The address of a dataset that was seen."""
        place = self.known.get(DatasetName(namespace, name).key)
        return place.address_id if place else None

    def load(self) -> None:
        """Get or create the addresses of the datasets that were seen, and join what was known of them."""
        if not self.known:
            return
        for row in self._connection.execute(text(_READ), {"keys": sorted(self.known)}):
            place = self.known[row.key]
            facts = join_facets(row.facts, place.facts)
            is_later = (from_micros(place.last) - row.last_seen_at).total_seconds() > _DAY
            place.says_more = facts != row.facts
            if place.says_more and row.address_id is not None:
                self._compare_schemas(row.address_id, place, row.facts.get("schema"), facts.get("schema"))
            place.is_stored = not place.says_more and not is_later and row.address_id is not None
            place.facts = facts
            # Another name that two datasets claim is a dataset of its own, once it is seen.
            place.alias, place.disabled = row.alias and not row.disabled, row.disabled
            place.address_id = None if row.disabled and row.alias else row.address_id
        self._follow_renames()
        self._find_addresses()
        self._learn_aliases()
        self._note_dropped()
        self._store()
        changed = {place.address_id for place in self.known.values() if not place.is_stored and place.address_id}
        if changed:
            describe_addresses(self._connection, sorted(changed))
        ids = sorted({place.address_id for place in self.known.values() if place.address_id})
        revived = sorted(self._connection.scalars(text(_REVIVE), {"ids": ids}))
        if revived:
            enqueue(self._connection, "revive_task", SCHEDULED_QUEUE, pipeline_ids=[], address_ids=revived)

    def _note_dropped(self) -> None:
        for place in self.known.values():
            change = (value_in(place.facts, "lifecycleStateChange") or {}).get("lifecycleStateChange")
            if change == "DROP" and place.address_id is not None and place.says_more:
                self.dropped[place.address_id] = from_micros(place.facts["lifecycleStateChange"][0])

    def _follow_renames(self) -> None:
        """A dataset that was renamed keeps its address: its new name is another name for that."""
        renamed = {}
        for place in self.known.values():
            previous = (value_in(place.facts, "lifecycleStateChange") or {}).get("previousIdentifier")
            if previous and place.address_id is None:
                renamed[DatasetName(previous["namespace"], previous["name"]).key] = place
        if renamed:
            for row in self._connection.execute(text(_READ), {"keys": sorted(renamed)}):
                renamed[row.key].address_id = row.address_id

    def _find_addresses(self) -> None:
        sensitive = frozenset(self._connection.scalars(text("SELECT name FROM address_type WHERE case_sensitive")))
        wanted: dict[str, AddressName] = {}
        names: dict[UUID, str] = {}
        for key, place in self.known.items():
            if place.address_id is None:
                address = address_name(place.name, place.integration, self._aliases)
                name = address.name.spelling if address.type_name in sensitive else str(address.name)
                wanted[name], names[key] = address, name
                place.is_stored = False
        if not wanted:
            return
        new = []
        for name, address in sorted(wanted.items()):
            spelling = address.name.spelling
            new.append(address._asdict() | {"name": name, "display_name": None if spelling == name else spelling})
        rows = json.dumps(new)
        self._connection.execute(text(CREATE_ADDRESS_TYPES), {"rows": rows})
        self._connection.execute(text(CREATE_ADDRESSES), {"rows": rows})
        ids = {row.name: row.id for row in self._connection.execute(text(_IDS), {"names": sorted(wanted)})}
        for key, name in names.items():
            self.known[key].address_id = ids.get(name)

    def _learn_aliases(self) -> None:
        """Other names of these datasets lead to their addresses, unless two datasets claim one name."""
        claims: dict[UUID, tuple[DatasetName, set[int]]] = {}
        for place in self.known.values():
            if place.alias or place.address_id is None or (not place.says_more and place.is_stored):
                continue
            for other in (value_in(place.facts, "symlinks") or {}).get("identifiers", ()):
                name = DatasetName(other["namespace"], other["name"])
                if name != place.name and name.namespace and name.name:
                    claims.setdefault(name.key, (name, set()))[1].add(place.address_id)
        if not claims:
            return
        stored = {row.key: row for row in self._connection.execute(text(_READ), {"keys": sorted(claims)})}
        for key, (name, addresses) in sorted(claims.items()):
            row = stored.get(key)
            # A dataset that was seen by itself keeps its address: nothing that people look at is merged behind them.
            if (row is not None and not row.alias) or (key in self.known and not self.known[key].alias):
                continue
            known = {row.address_id} if row is not None and row.address_id and not row.disabled else set()
            disabled = len(addresses | known) > 1 or (row is not None and row.disabled)
            place = Place(name, "openlineage", max(one.last for one in self.known.values()), alias=True)
            place.address_id, place.disabled = min(addresses), disabled
            place.is_stored = row is not None and (row.disabled, row.address_id) == (disabled, place.address_id)
            self.known[key] = place

    def _compare_schemas(self, address_id: int, place: Place, old: Facet | None, new: Facet | None) -> None:
        if old is None or new is None or old[:2] == new[:2]:
            return
        before, after = _types(old), _types(new)
        if not before or not after or before == after:
            return
        retyped = sorted(name for name in before.keys() & after.keys() if before[name] != after[name])
        added, removed = sorted(after.keys() - before.keys()), sorted(before.keys() - after.keys())
        self.schema_changes.append(
            SchemaChange(address_id, place.name, from_micros(new[0]), added[:100], removed[:100], retyped[:100])
        )

    def _store(self) -> None:
        rows = [
            {
                "key": str(key),
                "namespace": place.name.namespace,
                "name": place.name.name,
                "address_id": place.address_id,
                "alias": place.alias,
                "disabled": place.disabled,
                "facts": place.facts,
                "last_seen_at": from_micros(place.last).isoformat(),
            }
            for key, place in self.known.items()
            if not place.is_stored
        ]
        if rows:
            self._connection.execute(text(_STORE), {"rows": json.dumps(rows)})


def describe_addresses(connection: Connection, address_ids: Sequence[int]) -> None:
    """Have these addresses show what their datasets say; nothing where they have none any more.

    One address may be several datasets, such as a folder in different spellings: it shows what all of them say.
    """
    joined: dict[int, tuple[DatasetName, dict[str, Facet]]] = {}
    for row in connection.execute(text(_FACTS), {"ids": list(address_ids)}):
        name, facts = joined.get(row.address_id, (DatasetName(row.namespace, row.name), {}))
        joined[row.address_id] = name, join_facets(facts, row.facts)
    rows: list[dict[str, Any]] = [
        {"id": address_id, "said": describe_dataset(*joined[address_id]) if address_id in joined else None}
        for address_id in address_ids
    ]
    connection.execute(text(_DESCRIBE), {"rows": json.dumps(rows)})


def _types(facet: Facet) -> dict[str, str]:
    """The fields of a schema facet with their types."""
    return {one["name"]: one.get("type", "").lower() for one in value_of(facet) or ()}
