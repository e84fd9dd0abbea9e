"""Retiring pipelines and addresses over HTTP."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Query, Request, Response
from sqlalchemy import Connection, Row
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.addresses.models import Address
from watcher_server.addresses.schemas import AddressResponse
from watcher_server.addresses.service import find_address
from watcher_server.archive import service
from watcher_server.archive.service import Kind
from watcher_server.auth.access import may_administer
from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.http.state import app_state
from watcher_server.kit.fields import Id, Refreshed
from watcher_server.pipelines.schemas import PipelineResponse
from watcher_server.pipelines.service import find_pipeline

router = APIRouter(route_class=JsonRoute)

Forget = Annotated[
    bool, Query(description="Delete it with all its history, for good; needs a token with the scope admin.")
]
_QUEUED: dict[int | str, dict[str, Any]] = {202: {"model": Refreshed}}


@router.delete("/pipeline/{pipeline_id}", tags=["pipelines"], response_model=PipelineResponse, responses=_QUEUED)
async def delete_pipeline(
    pipeline_id: Annotated[Id, Path()], session: Session, request: Request, *, forget: Forget = False
) -> Row[Any] | Response:
    """Retire a pipeline: it leaves every list, check and graph until it is restored, or reports again."""
    if forget:
        return await _forget(session, request, Kind.PIPELINE, pipeline_id)
    await _change(session, request, partial(service.archive, kind=Kind.PIPELINE, id_=pipeline_id))
    return await find_pipeline(session, pipeline_id)


@router.post("/pipeline/{pipeline_id}/restore", tags=["pipelines"], response_model=PipelineResponse)
async def restore_pipeline(pipeline_id: Annotated[Id, Path()], session: Session, request: Request) -> Row[Any]:
    """Bring a retired pipeline back as it was."""
    await _change(session, request, partial(service.restore, kind=Kind.PIPELINE, id_=pipeline_id))
    return await find_pipeline(session, pipeline_id)


@router.delete("/address/{address_id}", tags=["addresses"], response_model=AddressResponse, responses=_QUEUED)
async def delete_address(
    address_id: Annotated[Id, Path()], session: Session, request: Request, *, forget: Forget = False
) -> Address | Response:
    """Retire an address: it leaves every list and graph until it is restored, or a pipeline names it again."""
    if forget:
        return await _forget(session, request, Kind.ADDRESS, address_id)
    await _change(session, request, partial(service.archive, kind=Kind.ADDRESS, id_=address_id))
    return await find_address(session, address_id)


@router.post("/address/{address_id}/restore", tags=["addresses"], response_model=AddressResponse)
async def restore_address(address_id: Annotated[Id, Path()], session: Session, request: Request) -> Address:
    """Bring a retired address back, with its edges."""
    await _change(session, request, partial(service.restore, kind=Kind.ADDRESS, id_=address_id))
    return await find_address(session, address_id)


async def _forget(session: AsyncSession, request: Request, kind: Kind, id_: int) -> Response:
    if not may_administer(request):
        raise HTTPException(403, "To forget it needs a token with the scope admin; without forget=true it is archived.")
    await _change(session, request, partial(service.forget, kind=kind, id_=id_))
    queued = Refreshed(status="queued", message=f"The {kind} {id_} and its history are being deleted.")
    return Response(queued.model_dump_json(), 202, media_type="application/json")


async def _change(session: AsyncSession, request: Request, change: Callable[[Connection], None]) -> None:
    await (await session.connection()).run_sync(change)
    app_state(request).relay.wake()
