"""Pipelines and pipeline types over HTTP."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.auth.access import may_write
from watcher_server.database.rows import find, list_rows
from watcher_server.http.body import JsonRoute
from watcher_server.http.ingest_route import KeyedIngestRoute, json_answer
from watcher_server.http.lists import list_answer
from watcher_server.http.session import Session, ask_at_once, in_transaction
from watcher_server.http.state import app_state
from watcher_server.kit.fields import Created, Id, SearchText
from watcher_server.kit.listing import Page, read_page
from watcher_server.pipelines import service, usual
from watcher_server.pipelines.models import PipelineType
from watcher_server.pipelines.ping_urls import ping_url
from watcher_server.pipelines.schemas import (
    PipelinePatch,
    PipelineResponse,
    PipelineTypePatch,
    PipelineTypePost,
    PipelineTypeResponse,
    PipelineWithUrl,
    shown_fields,
)
from watcher_server.pipelines.words import AskedState, AskedWord

ingest_router = APIRouter(route_class=KeyedIngestRoute)
router = APIRouter(route_class=JsonRoute)


@ingest_router.get("/pipeline/{pipeline_id}", tags=["pipelines"], response_model=PipelineWithUrl)
async def get_pipeline(pipeline_id: Annotated[Id, Path()], request: Request) -> Response:
    """One pipeline; its ping URL is shown to those who may write."""
    found = await ask_at_once(request, lambda connection: usual.find_pipeline(connection, pipeline_id))
    if found is not None and not found.may_be_due:
        return _show_with_url(request, found.fields)

    async def find(session: AsyncSession) -> Response:
        return _show_with_url(request, (await service.find_pipeline(session, pipeline_id))._asdict())

    return await in_transaction(request, find)


def _show_with_url(request: Request, fields: Mapping[str, Any]) -> Response:
    shown = PipelineWithUrl.model_validate(fields)
    if may_write(request):
        shown.ping_url = ping_url(request, fields["ping_uuid"])
    return json_answer(shown)


@ingest_router.patch("/pipeline", tags=["pipelines"], response_model=PipelineResponse)
async def patch_pipeline(body: PipelinePatch, request: Request) -> Response:
    """Change one pipeline, named by id or by name."""
    moved = None
    if usual.only_moves_watermarks(body):
        moved = await ask_at_once(request, lambda connection: usual.move_watermarks(connection, body))
    if moved is not None and not moved.may_be_due:
        return json_answer(PipelineResponse.model_validate(moved.fields))

    async def patch(session: AsyncSession) -> Response:
        changed = service.patch_pipeline(session, body) if moved is None else service.find_pipeline(session, moved.id)
        return json_answer(PipelineResponse.model_validate(await changed))

    return await in_transaction(request, patch)


@router.get("/pipeline", tags=["pipelines"], response_model=list[PipelineResponse])
async def list_pipelines(
    request: Request,
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
) -> Response:
    """Every pipeline, by id; metadata beyond the limits of an answer is left out."""
    parts = service.list_pipelines(
        app_state(request).query_engine,
        page,
        name=name,
        pipeline_type_id=pipeline_type_id,
        active=active,
        state=state,
        status=status,
        archived=archived,
    )
    return await list_answer(parts, shown_fields)


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
