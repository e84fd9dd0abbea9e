"""Pipelines and pipeline types over HTTP."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from sqlalchemy import Row

from watcher_server.auth.access import may_write
from watcher_server.database.rows import find, list_rows
from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.kit.fields import Created, Id, SearchText
from watcher_server.kit.listing import Page, read_page
from watcher_server.pipelines import service
from watcher_server.pipelines.models import PipelineType
from watcher_server.pipelines.ping_urls import ping_url
from watcher_server.pipelines.schemas import (
    PipelinePatch,
    PipelineResponse,
    PipelineTypePatch,
    PipelineTypePost,
    PipelineTypeResponse,
    PipelineWithUrl,
)
from watcher_server.pipelines.words import AskedState, AskedWord

router = APIRouter(route_class=JsonRoute)


@router.get("/pipeline", tags=["pipelines"], response_model=list[PipelineResponse])
async def list_pipelines(
    session: Session,
    page: Annotated[Page, Depends(read_page)],
    name: Annotated[SearchText | None, Query(description="Any part of the name.")] = None,
    pipeline_type_id: Id | None = None,
    *,
    active: bool | None = None,
    state: Annotated[
        AskedState | None,
        Query(description="A `state`, or a word of `status` and `also`; a name that is both means the state."),
    ] = None,
    status: Annotated[AskedWord | None, Query(description="A word that is the `status` or in `also`.")] = None,
    archived: Annotated[bool, Query(description="Those that were archived, instead of the others.")] = False,
) -> Sequence[Row[Any]]:
    """Every pipeline, by id; metadata beyond the limits of an answer is left out."""
    return await service.list_pipelines(
        session,
        page,
        name=name,
        pipeline_type_id=pipeline_type_id,
        active=active,
        state=state,
        status=status,
        archived=archived,
    )


@router.get("/pipeline/{pipeline_id}", tags=["pipelines"], response_model=PipelineWithUrl)
async def get_pipeline(pipeline_id: Annotated[Id, Path()], session: Session, request: Request) -> PipelineWithUrl:
    """One pipeline; its ping URL is shown to those who may write."""
    row = await service.find_pipeline(session, pipeline_id)
    shown = PipelineWithUrl.model_validate(row)
    if may_write(request):
        shown.ping_url = ping_url(request, row.ping_uuid)
    return shown


@router.patch("/pipeline", tags=["pipelines"], response_model=PipelineResponse)
async def patch_pipeline(body: PipelinePatch, session: Session) -> Row[Any]:
    """Change one pipeline, named by id or by name."""
    return await service.patch_pipeline(session, body)


@router.post("/pipeline_type", status_code=201, tags=["pipeline types"], responses={200: {"model": Created}})
async def post_pipeline_type(body: PipelineTypePost, session: Session, response: Response) -> Created:
    """Get or create a pipeline type by name: 201 when it was created, 200 when it existed."""
    pipeline_type, created = await service.sync_pipeline_type(session, body)
    response.status_code = 201 if created else 200
    return Created(id=pipeline_type.id)


@router.get("/pipeline_type", tags=["pipeline types"], response_model=list[PipelineTypeResponse])
async def list_pipeline_types(
    session: Session,
    page: Annotated[Page, Depends(read_page)],
    name: Annotated[SearchText | None, Query(description="Any part of the name.")] = None,
) -> Sequence[PipelineType]:
    """Every pipeline type, by id."""
    return await list_rows(session, PipelineType, page, name=name)


@router.get("/pipeline_type/{pipeline_type_id}", tags=["pipeline types"], response_model=PipelineTypeResponse)
async def get_pipeline_type(pipeline_type_id: Annotated[Id, Path()], session: Session) -> PipelineType:
    """One pipeline type."""
    return await find(session, PipelineType, pipeline_type_id)


@router.patch("/pipeline_type", tags=["pipeline types"], response_model=PipelineTypeResponse)
async def patch_pipeline_type(body: PipelineTypePatch, session: Session) -> PipelineType:
    """Change one pipeline type, named by id or by name."""
    return await service.patch_pipeline_type(session, body)
