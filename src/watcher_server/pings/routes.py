"""Ping URLs and keys over HTTP; pings themselves are answered in ``receiving``."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.kit.fields import Id
from watcher_server.pings import service
from watcher_server.pings.models import PingKey
from watcher_server.pings.schemas import PingKeyListed, PingKeyMade, PingKeyPost, PingUrl, PingUrlPost
from watcher_server.pipelines.ping_urls import ping_url

router = APIRouter(route_class=JsonRoute, tags=["pings"])


@router.post("/ping_url", status_code=201, responses={200: {"model": PingUrl}})
async def post_ping_url(body: PingUrlPost, session: Session, request: Request, response: Response) -> PingUrl:
    """The ping URL of the pipeline with that name: 201 when it was made for it, 200 when it existed."""
    pipeline_id, uuid, created = await service.get_url(session, body, request.app.state.settings)
    response.status_code = 201 if created else 200
    return PingUrl(pipeline_id=pipeline_id, ping_url=ping_url(request, uuid))


@router.post("/pipeline/{pipeline_id}/ping_url")
async def renew_ping_url(pipeline_id: Annotated[Id, Path()], session: Session, request: Request) -> PingUrl:
    """Give the pipeline a new ping URL; the old one is not found from now on."""
    uuid = await service.renew_url(session, pipeline_id)
    return PingUrl(pipeline_id=pipeline_id, ping_url=ping_url(request, uuid))


@router.post("/ping_key", status_code=201)
async def post_ping_key(body: PingKeyPost, session: Session) -> PingKeyMade:
    """Make a key that reaches every pipeline as /ping/KEY/SLUG, and show it, this once."""
    key_id, key = await service.create_key(session, body.name)
    return PingKeyMade(id=key_id, name=body.name, key=key)


@router.get("/ping_key", response_model=list[PingKeyListed])
async def list_ping_keys(session: Session) -> Sequence[PingKey]:
    """The keys by id, without themselves."""
    return await service.list_keys(session)


@router.delete("/ping_key/{key_id}", status_code=204)
async def delete_ping_key(key_id: Annotated[Id, Path()], session: Session) -> None:
    """Revoke a key."""
    await service.delete_key(session, key_id)
