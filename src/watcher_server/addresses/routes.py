"""Addresses and address types over HTTP."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.addresses import service
from watcher_server.addresses.models import Address, AddressType
from watcher_server.addresses.schemas import (
    AddressPatch,
    AddressPost,
    AddressResponse,
    AddressTypePatch,
    AddressTypePost,
    AddressTypeResponse,
    shown_fields,
)
from watcher_server.addresses.sync import find_unchanged
from watcher_server.database.rows import find, list_rows
from watcher_server.http.body import JsonRoute
from watcher_server.http.idempotency import has_claim
from watcher_server.http.ingest_route import KeyedIngestRoute, json_answer
from watcher_server.http.lists import list_answer
from watcher_server.http.session import Session, ask_at_once, in_transaction
from watcher_server.http.state import app_state
from watcher_server.kit.fields import Created, Id, SearchText
from watcher_server.kit.listing import Page, read_page

ingest_router = APIRouter(route_class=KeyedIngestRoute, tags=["addresses"])
router = APIRouter(route_class=JsonRoute, tags=["addresses"])

NamePart = Annotated[SearchText | None, Query(description="Any part of the name.")]
Group = Annotated[SearchText | None, Query(description="The group of the address type, in full.")]


@ingest_router.post("/address", status_code=201, response_model=Created, responses={200: {"model": Created}})
async def post_address(body: AddressPost, request: Request) -> Response:
    """Get or create an address by name: 201 when it was created, 200 when it existed.

    A type that is missing is created in the group that the body names; the group of a type that exists is left alone
    (`POST /address_type` changes it).
    """
    if not has_claim(request):
        unchanged = await ask_at_once(request, lambda connection: find_unchanged(connection, body))
        if unchanged is not None:
            return json_answer(Created(id=unchanged))

    async def write(session: AsyncSession) -> Response:
        address = await service.sync_address(session, body)
        return json_answer(Created(id=address.id), 201 if address.created else 200)

    return await in_transaction(request, write)


@router.get("/address", response_model=list[AddressResponse])
async def list_addresses(
    request: Request,
    page: Annotated[Page, Depends(read_page)],
    name: NamePart = None,
    address_type_id: Id | None = None,
    group: Group = None,
    *,
    archived: Annotated[bool, Query(description="Those that were archived, instead of the others.")] = False,
) -> Response:
    """Every address, by id; metadata beyond the limits of an answer is left out."""
    engine = app_state(request).query_engine
    parts = service.list_addresses(
        engine, page, name=name, address_type_id=address_type_id, group=group, archived=archived
    )
    return await list_answer(parts, shown_fields)


@router.get("/address/{address_id}", response_model=AddressResponse)
async def get_address(address_id: Annotated[Id, Path()], session: Session) -> Address:
    """One address."""
    return await service.find_address(session, address_id)


@router.patch("/address", response_model=AddressResponse)
async def patch_address(body: AddressPatch, session: Session) -> Address:
    """Change one address, named by id or by name."""
    return await service.patch_address(session, body)


@router.post("/address_type", status_code=201, responses={200: {"model": Created}})
async def post_address_type(body: AddressTypePost, session: Session, response: Response) -> Created:
    """Get or create an address type by name: 201 when it was created, 200 when it existed."""
    address_type, created = await service.sync_address_type(session, body)
    response.status_code = 201 if created else 200
    return Created(id=address_type.id)


@router.get("/address_type", response_model=list[AddressTypeResponse])
async def list_address_types(
    session: Session, page: Annotated[Page, Depends(read_page)], name: NamePart = None, group: Group = None
) -> Sequence[AddressType]:
    """Every address type, by id."""
    return await list_rows(session, AddressType, page, name=name, group_name=group or None)


@router.get("/address_type/{address_type_id}", response_model=AddressTypeResponse)
async def get_address_type(address_type_id: Annotated[Id, Path()], session: Session) -> AddressType:
    """One address type."""
    return await find(session, AddressType, address_type_id)


@router.patch("/address_type", response_model=AddressTypeResponse)
async def patch_address_type(body: AddressTypePatch, session: Session) -> AddressType:
    """Change one address type, named by id or by name."""
    return await service.patch_address_type(session, body)
