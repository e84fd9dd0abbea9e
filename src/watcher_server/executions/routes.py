"""Executions over HTTP."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import Response as RawResponse

from watcher_server.executions import ingest, service, tree
from watcher_server.executions.models import PipelineExecution
from watcher_server.executions.schemas import (
    ExecutionEnd,
    ExecutionFacts,
    ExecutionQuery,
    ExecutionResponse,
    ExecutionStart,
)
from watcher_server.http.body import JsonRoute
from watcher_server.http.ingest import IngestRoute
from watcher_server.http.session import Session, ingest_pool
from watcher_server.kit.fields import Created, Id

ingest_router = APIRouter(route_class=IngestRoute, tags=["executions"])
router = APIRouter(route_class=JsonRoute, tags=["executions"])


@ingest_router.post("/start_pipeline_execution", status_code=201, response_model=Created)
async def start_pipeline_execution(body: ExecutionStart, request: Request) -> Response:
    """Report that a run begins."""
    async with ingest_pool(request).connection() as connection:
        execution_id = await ingest.start_execution(connection, body)
    if body.parent_id is not None:
        request.app.state.relay.wake()
    return RawResponse(b'{"id":%d}' % execution_id, status_code=201, media_type="application/json")


@ingest_router.post("/end_pipeline_execution", status_code=204, response_model=None)
async def end_pipeline_execution(body: ExecutionEnd, request: Request) -> Response:
    """Report how a run ended; sending the same end again changes nothing."""
    async with ingest_pool(request).connection() as connection:
        await ingest.end_execution(connection, body)
    request.app.state.relay.wake()
    return RawResponse(status_code=204)


@router.get("/pipeline_execution", response_model=list[ExecutionFacts])
async def list_pipeline_executions(
    session: Session, query: Annotated[ExecutionQuery, Query()]
) -> Sequence[PipelineExecution]:
    """A page of executions, by id: the first hundred unless the query says otherwise."""
    return await service.list_executions(session, query)


@router.get("/pipeline_execution/{execution_id}", response_model=ExecutionResponse)
async def get_pipeline_execution(execution_id: Annotated[Id, Path()], session: Session) -> Response:
    """One execution, with the whole tree below it."""
    return RawResponse(await tree.read_tree(session, execution_id), media_type="application/json")
