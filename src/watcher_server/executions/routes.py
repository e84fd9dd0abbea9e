"""Executions over HTTP."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import PlainTextResponse
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.executions import ingest, reading, tree
from watcher_server.executions.schemas import (
    ExecutionEnd,
    ExecutionFacts,
    ExecutionQuery,
    ExecutionStart,
    ExecutionTree,
)
from watcher_server.http.body import JsonRoute
from watcher_server.http.idempotency import HEADER, read_claim
from watcher_server.http.ingest_route import IngestRoute, sent_header
from watcher_server.http.session import Session, ask_at_once, in_transaction
from watcher_server.http.state import app_state
from watcher_server.kit.fields import Created, Id

ingest_router = APIRouter(route_class=IngestRoute, tags=["executions"])
router = APIRouter(route_class=JsonRoute, tags=["executions"])
# Every end has the same answer.
_ENDED = Response(status_code=204)


@ingest_router.post("/start_pipeline_execution", status_code=201, response_model=Created)
async def start_pipeline_execution(body: ExecutionStart, request: Request) -> Response:
    """Report that a run begins."""
    claim = None
    if body.idempotency_key is not None or sent_header(request, HEADER.encode()) is not None:
        claim = read_claim(request, body.model_dump(mode="json"))
    async with app_state(request).ingest_pool.connection() as connection:
        execution_id = await ingest.start_execution(connection, body, claim)
    if body.parent_id is not None:
        app_state(request).relay.wake()
    return Response(b'{"id":%d}' % execution_id, status_code=201, media_type="application/json")


@ingest_router.post("/end_pipeline_execution", status_code=204, response_model=None)
async def end_pipeline_execution(body: ExecutionEnd, request: Request) -> Response:
    """Report how a run ended; sending the same end again changes nothing."""
    async with app_state(request).ingest_pool.connection() as connection:
        has_task = await ingest.end_execution(connection, body)
    if has_task:
        app_state(request).relay.wake()
    return _ENDED


@ingest_router.get("/pipeline_execution/{execution_id}", response_model=ExecutionTree)
async def get_pipeline_execution(execution_id: Annotated[Id, Path()], request: Request) -> Response:
    """One execution, with the whole tree below it."""
    found = await ask_at_once(request, lambda connection: tree.read_childless(connection, execution_id))
    if found is None:
        return await in_transaction(request, lambda session: _show_tree(session, execution_id))
    return Response(found, media_type="application/json")


async def _show_tree(session: AsyncSession, execution_id: int) -> Response:
    return Response(await tree.read_tree(session, execution_id), media_type="application/json")


@router.get("/pipeline_execution", response_model=list[ExecutionFacts])
async def list_pipeline_executions(session: Session, query: Annotated[ExecutionQuery, Query()]) -> Sequence[Row[Any]]:
    """A page of executions, by id: the first hundred unless the query says otherwise.

    Metadata beyond the limits of an answer is left out.
    """
    return await reading.list_executions(session, query)


@router.get("/pipeline_execution/{execution_id}/output", response_class=PlainTextResponse)
async def get_output(execution_id: Annotated[Id, Path()], session: Session) -> str:
    """What the command of a run printed, as far as it was sent; empty when nothing was."""
    return await reading.read_output(session, execution_id)
