"""Addresses and their types: creating, changing, listing and searching them."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from sqlalchemy import Row, Select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from watcher_server.addresses.models import Address, AddressType
from watcher_server.addresses.schemas import (
    AddressColumns,
    AddressFound,
    AddressPatch,
    AddressPost,
    AddressTypePatch,
    AddressTypePost,
    check_case_sensitive,
)
from watcher_server.addresses.sync import SyncedAddress, sync_addresses
from watcher_server.audit.service import Change, record_in
from watcher_server.database.parts import read_parts
from watcher_server.database.rows import apply_changes, find, find_for_update, get_or_create
from watcher_server.kit.errors import ConflictError, InvalidFieldError, NotFoundError
from watcher_server.kit.listing import Page, contains, list_statement
from watcher_server.kit.names import display_of, fold


async def sync_address(session: AsyncSession, body: AddressPost) -> SyncedAddress:
    """Get or create one address; see :func:`sync_addresses`."""
    before: dict[str, Mapping[str, Any]] = {}
    address = (await sync_addresses(session, [body], before=before))[0]
    if address.created or before:
        row = await find(session, Address, address.id)
        was = next(iter(before.values()), None)
        fields = was or ("address_type_id", *AddressColumns.model_fields)
        after = {name: getattr(row, name) for name in fields}
        await record_in(session, _change_of("change" if was else "create", row, before=was, after=after))
    return address


def _change_of(
    action: str, row: Address | AddressType, *, after: Mapping[str, Any], before: Mapping[str, Any] | None = None
) -> Change:
    name = (row.display_name if isinstance(row, Address) else None) or row.name
    return Change(action, row.__tablename__, row.id, name, before, after)


async def _write(session: AsyncSession, row: Address | AddressType, changes: Mapping[str, Any]) -> None:
    before = {field: getattr(row, field) for field in changes}
    await apply_changes(session, row, changes)
    after = {field: getattr(row, field) for field in changes}
    await record_in(session, _change_of("change", row, before=before, after=after))


async def find_address(session: AsyncSession, address_id: int) -> Address:
    """The address with that id. Raises NotFoundError: there is none, or it is forgotten."""
    address = await find(session, Address, address_id)
    if address.forgotten_at is not None:
        raise NotFoundError(f"No address has the id {address_id}.")
    return address


async def patch_address(session: AsyncSession, body: AddressPatch) -> Address:
    """Change the fields that the body has.

    Raises:
        NotFoundError: no such address, or no such address type.
        NameTakenError: the new name belongs to another address.
    """
    address = await _find_address(session, body)
    changes = body.changes()
    type_id = changes.get("address_type_id", address.address_type_id)
    if "address_type_id" in changes or "name" in changes:
        address_type = await find(session, AddressType, type_id)
        name = changes.get("name")
        if name is not None:
            spelling = display_of(name)
            is_spelt = address_type.case_sensitive and spelling is not None
            changes |= {"name": spelling, "display_name": None} if is_spelt else {"display_name": spelling}
    await _write(session, address, changes)
    return address


async def _find_address(session: AsyncSession, body: AddressPatch) -> Address:
    """The address that is meant: that of the id, else of the name as it is spelt, else of the name in any case."""
    spelling = display_of(body.name)
    if body.id is None and spelling is not None:
        with suppress(NotFoundError):
            return await find_for_update(session, Address, None, spelling)
    return await find_for_update(session, Address, body.id, body.name)


async def sync_address_type(session: AsyncSession, body: AddressTypePost) -> tuple[AddressType, bool]:
    """Get or create the type, changing what the body says otherwise; whether it was created. Raises as the patch."""
    values = {name: value for name, value in body.carried().items() if name != "name"}
    _check_type(values["group_name"], case_sensitive=values.get("case_sensitive", False))
    row, created = await get_or_create(session, AddressType, {"name": body.name}, values)
    changes = {name: value for name, value in values.items() if getattr(row, name) != value}
    if created:
        await record_in(session, _change_of("create", row, after=values))
    if changes:
        await _change_type(session, row, changes)
    return row, created


async def patch_address_type(session: AsyncSession, body: AddressTypePatch) -> AddressType:
    """Change the fields that the body has. Addresses of a type that gets case-sensitive get their spelling as name.

    Raises:
        NotFoundError: no such address type.
        NameTakenError: the new name belongs to another address type.
        InvalidFieldError: types of this group cannot be case-sensitive.
        ConflictError: it is not to be case-sensitive any more, and has addresses with capitals.
    """
    address_type = await find_for_update(session, AddressType, body.id, body.name)
    await _change_type(session, address_type, body.changes())
    return address_type


# A name that is taken already, by an address of another type, stays as it is.
_SPELL_OUT = """
UPDATE address SET name = display_name, display_name = NULL
WHERE address_type_id = :type_id AND display_name IS NOT NULL
    AND NOT EXISTS (SELECT FROM address AS other WHERE other.name = address.display_name)
"""
_HAS_CAPITALS = "SELECT EXISTS (SELECT FROM address WHERE address_type_id = :type_id AND name <> lower(name))"


async def _change_type(session: AsyncSession, row: AddressType, changes: dict[str, Any]) -> None:
    was, wanted = row.case_sensitive, changes.get("case_sensitive", row.case_sensitive)
    _check_type(changes.get("group_name", row.group_name), case_sensitive=wanted)
    if wanted and not was:
        await session.execute(text(_SPELL_OUT), {"type_id": row.id})
    elif was and not wanted and await session.scalar(text(_HAS_CAPITALS), {"type_id": row.id}):
        raise ConflictError(f"Address type {row.name!r} has addresses with capitals in their names: rename them first.")
    await _write(session, row, changes)


def _check_type(group_name: str, *, case_sensitive: bool) -> None:
    try:
        check_case_sensitive("case_sensitive", group_name, wanted=case_sensitive)
    except ValueError as error:
        raise InvalidFieldError("case_sensitive", str(error)) from None


_NOT_ARCHIVED = Address.archived_at.is_(None)


def list_addresses(
    engine: AsyncEngine,
    page: Page,
    *,
    name: str | None,
    address_type_id: int | None,
    group: str | None,
    archived: bool = False,
) -> AsyncIterator[Sequence[Row[Any]]]:
    """The columns of addresses by id, in parts; ``name`` is any part of a name, ``group`` the whole group of the type.

    Those that are not in the archive, or with ``archived`` those in it.
    """
    kept = Address.archived_at.is_not(None) & Address.forgotten_at.is_(None) if archived else _NOT_ARCHIVED
    statement = list_statement(Address, name=name, address_type_id=address_type_id).where(kept)
    if group:
        statement = statement.join(AddressType).where(AddressType.group_name == group)

    async def find(_session: AsyncSession, part: Page, last_id: int) -> Select[Any]:
        return part.of(statement.where(Address.id > last_id))

    return read_parts(engine, page, find, "address_metadata", "openlineage")


async def list_address_names(session: AsyncSession, page: Page, name: str | None) -> Sequence[Row[Any]]:
    """Ids and names of addresses by id; ``name`` matches any part of a name."""
    statement: Any = list_statement(Address, name=name).where(_NOT_ARCHIVED).with_only_columns(Address.id, Address.name)
    rows: Sequence[Row[Any]] = (await session.execute(page.of(statement))).all()
    return rows


# The names that begin with the first word come first, and short names before long ones. LIKE within a name cannot use
# an index to find rows, so this reads all names once.
_SEARCH = """
SELECT found.id, coalesce(found.display_name, found.name) AS name,
    address_type.name AS type_name, address_type.group_name
FROM (
    SELECT id FROM address WHERE archived_at IS NULL AND lower(name) LIKE ALL (CAST(:patterns AS text[]))
    ORDER BY NOT starts_with(lower(name), :first), length(name), name LIMIT :limit
) AS nearest
JOIN address AS found USING (id)
JOIN address_type ON address_type.id = found.address_type_id
ORDER BY NOT starts_with(lower(found.name), :first), length(found.name), found.name
"""


async def search_addresses(session: AsyncSession, wanted: str, most: int) -> tuple[list[AddressFound], bool]:
    """The best of the addresses whose names contain all the words, at most ``most``, and whether there are more."""
    words = fold(wanted).split()
    if not words:
        return [], False
    parameters = {"patterns": [contains(word) for word in words], "first": words[0], "limit": most + 1}
    found = [AddressFound.model_validate(row) for row in await session.execute(text(_SEARCH), parameters)]
    return found[:most], len(found) > most
