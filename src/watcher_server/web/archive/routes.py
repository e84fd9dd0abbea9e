"""The page of what is archived: see it, and bring it back."""

from functools import partial
from typing import Annotated

from fastapi import Path, Request
from fastapi.responses import HTMLResponse, Response
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.archive.reading import read_archived
from watcher_server.archive.service import Kind, archive, restore
from watcher_server.database.asking import ask
from watcher_server.http.session import Session
from watcher_server.http.state import app_state
from watcher_server.kit.fields import Id
from watcher_server.web.pages import back_to, page_router, render

router = page_router()


@router.get("/ui/archive")
async def show_archive(request: Request, session: Session) -> HTMLResponse:
    """What is archived, the latest first."""
    # More than anybody looks through; the API lists all.
    archived = {kind: await read_archived(session, kind, 200) for kind in Kind}
    return render(request, "archive/index.html", archived=archived)


@router.post("/ui/archive/pipeline/{pipeline_id}")
async def archive_pipeline(request: Request, session: Session, pipeline_id: Annotated[Id, Path()]) -> Response:
    """Retire a pipeline."""
    return await _change(request, session, partial(archive, kind=Kind.PIPELINE, id_=pipeline_id))


@router.post("/ui/archive/pipeline/{pipeline_id}/restore")
async def restore_pipeline(request: Request, session: Session, pipeline_id: Annotated[Id, Path()]) -> Response:
    """Bring a pipeline back."""
    return await _change(request, session, partial(restore, kind=Kind.PIPELINE, id_=pipeline_id))


@router.post("/ui/archive/address/{address_id}")
async def archive_address(request: Request, session: Session, address_id: Annotated[Id, Path()]) -> Response:
    """Retire an address."""
    return await _change(request, session, partial(archive, kind=Kind.ADDRESS, id_=address_id))


@router.post("/ui/archive/address/{address_id}/restore")
async def restore_address(request: Request, session: Session, address_id: Annotated[Id, Path()]) -> Response:
    """Bring an address back."""
    return await _change(request, session, partial(restore, kind=Kind.ADDRESS, id_=address_id))


async def _change(request: Request, session: AsyncSession, change: partial[None]) -> Response:
    await ask(session, change)
    app_state(request).relay.wake()
    return back_to(request, "/ui/archive")
