"""What Watcher knows of addresses and their types."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.addresses.models import Address, AddressType
from watcher_server.addresses.schemas import AddressPatch, AddressPost, AddressTypePatch, AddressTypePost
from watcher_server.addresses.sync import SyncedAddress, sync_addresses
from watcher_server.kit.configuration import apply_changes, find, find_for_update, get_or_create
from watcher_server.kit.listing import Page, contains


async def sync_address(session: AsyncSession, body: AddressPost) -> SyncedAddress:
    """Get or create one address; see :func:`sync_addresses`."""
    return (await sync_addresses(session, [body]))[body.name]


async def patch_address(session: AsyncSession, body: AddressPatch) -> Address:
    """Change what the body carries.

    Raises:
        NotFoundError: no such address, or no such address type.
        NameTakenError: the new name belongs to another address.
    """
    address = await find_for_update(session, Address, body.id, body.name)
    changes = body.changes()
    if "address_type_id" in changes:
        await find(session, AddressType, changes["address_type_id"])
    await apply_changes(session, address, changes)
    return address


async def sync_address_type(session: AsyncSession, body: AddressTypePost) -> tuple[AddressType, bool]:
    """Get or create the type, moving it to the group that the body names; whether it was created."""
    row, created = await get_or_create(session, AddressType, {"name": body.name}, {"group_name": body.group_name})
    if row.group_name != body.group_name:
        await apply_changes(session, row, {"group_name": body.group_name})
    return row, created


async def patch_address_type(session: AsyncSession, body: AddressTypePatch) -> AddressType:
    """Change what the body carries.

    Raises:
        NotFoundError: no such address type.
        NameTakenError: the new name belongs to another address type.
    """
    address_type = await find_for_update(session, AddressType, body.id, body.name)
    await apply_changes(session, address_type, body.changes())
    return address_type


async def list_addresses(
    session: AsyncSession,
    page: Page,
    *,
    name: str | None = None,
    address_type_id: int | None = None,
    group: str | None = None,
) -> Sequence[Address]:
    """Addresses by id; ``name`` matches any part of a name, ``group`` the whole group name of the type."""
    statement = select(Address).order_by(Address.id)
    if name:
        statement = statement.where(Address.name.like(contains(name)))
    if address_type_id is not None:
        statement = statement.where(Address.address_type_id == address_type_id)
    if group:
        statement = statement.join(AddressType).where(AddressType.group_name == group)
    return (await session.scalars(page.of(statement))).all()


async def list_address_types(
    session: AsyncSession, page: Page, *, name: str | None, group: str | None
) -> Sequence[AddressType]:
    """Address types by id; ``name`` matches any part of a name, ``group`` the whole group name."""
    statement = select(AddressType).order_by(AddressType.id)
    if name:
        statement = statement.where(AddressType.name.like(contains(name)))
    if group:
        statement = statement.where(AddressType.group_name == group)
    return (await session.scalars(page.of(statement))).all()
