"""Lineage over HTTP. The page for people is at /lineage-graph; the same address with a slash answers JSON."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.addresses.service import list_address_names
from watcher_server.http.body import JsonRoute
from watcher_server.http.idempotency import has_claim
from watcher_server.http.ingest_route import KeyedIngestRoute, json_answer
from watcher_server.http.session import Session, ask_at_once, in_transaction
from watcher_server.http.state import app_state
from watcher_server.kit.fields import Id, Refreshed, SearchText
from watcher_server.kit.listing import Page, read_page
from watcher_server.lineage import graph, impact, service
from watcher_server.lineage.schemas import (
    MOST_NODES,
    AddressLineageLoaded,
    AddressLineagePost,
    AddressLineageSkipped,
    AddressName,
    Depth,
    Direction,
    LineageGraph,
    NodeLimit,
    Reach,
)
from watcher_server.lineage.unchanged import find_standing

ingest_router = APIRouter(route_class=KeyedIngestRoute, tags=["lineage"])
router = APIRouter(route_class=JsonRoute, tags=["lineage"])

MaxDepth = Annotated[Depth | None, Query(description="The greatest distance in hops; all without it.")]


@ingest_router.post(
    "/address_lineage",
    status_code=201,
    response_model=AddressLineageSkipped | AddressLineageLoaded,
    responses={200: {"model": AddressLineageSkipped}},
)
async def post_address_lineage(body: AddressLineagePost, request: Request) -> Response:
    """Replace what a pipeline reads and writes.

    200, and nothing changes, when the pipeline's ``load_lineage`` is false and the body does not have ``replace``.
    """
    if not has_claim(request):
        standing = await ask_at_once(request, lambda connection: find_standing(connection, body))
        if standing is not None:
            return _loaded(body.pipeline_id, standing) if standing else _skipped(body.pipeline_id)

    async def load(session: AsyncSession) -> Response:
        loaded = await service.load_lineage(session, body)
        if loaded is None:
            return _skipped(body.pipeline_id)
        return _loaded(body.pipeline_id, loaded)

    response = await in_transaction(request, load)
    app_state(request).relay.wake()
    return response


def _loaded(pipeline_id: int, number: int) -> Response:
    loaded = AddressLineageLoaded(
        pipeline_id=pipeline_id,
        lineage_relationships_created=number,
        message=f"lineage relationships created for pipeline {pipeline_id}",
    )
    return json_answer(loaded, 201)


def _skipped(pipeline_id: int) -> Response:
    skipped = AddressLineageSkipped(
        pipeline_id=pipeline_id,
        lineage_relationships_created=0,
        message=f"lineage relationships not created: load_lineage is not set for pipeline {pipeline_id}",
        what_to_do=(
            "The lineage of a pipeline is kept after its first successful run. Send this request again with "
            '"replace": true to replace it, or set load_lineage with PATCH /pipeline.'
        ),
    )
    return json_answer(skipped)


@router.get("/lineage-graph/")
async def get_lineage_graph(
    session: Session,
    source_address_id: Annotated[Id, Query(description="The address to look from.")],
    direction: Direction = Direction.BOTH,
    depth: Annotated[Depth | None, Query(description="The greatest distance in hops; all without it.")] = None,
    limit: Annotated[
        NodeLimit, Query(description="The greatest number of addresses; the nearest are kept.")
    ] = MOST_NODES,
) -> LineageGraph:
    """An address, its ancestors, its descendants, and the direct edges among them."""
    return await graph.read_graph(session, source_address_id, direction, depth, limit)


@router.get("/address/{address_id}/downstream")
async def list_downstream(
    address_id: Annotated[Id, Path()],
    session: Session,
    page: Annotated[Page, Depends(read_page)],
    max_depth: MaxDepth = None,
) -> Reach:
    """The addresses that this one feeds, nearest first, with the pipelines that write each."""
    return await impact.read_reach(session, address_id, page, max_depth)


@router.get("/address/{address_id}/upstream")
async def list_upstream(
    address_id: Annotated[Id, Path()],
    session: Session,
    page: Annotated[Page, Depends(read_page)],
    max_depth: MaxDepth = None,
) -> Reach:
    """The addresses that feed this one, nearest first, with the pipelines that write each."""
    return await impact.read_reach(session, address_id, page, max_depth, upstream=True)


@router.get("/lineage-graph/addresses", response_model=list[AddressName])
async def list_graph_addresses(
    session: Session,
    page: Annotated[Page, Depends(read_page)],
    name: Annotated[SearchText | None, Query(description="Any part of the name.")] = None,
) -> Sequence[Row[Any]]:
    """The addresses to choose from, by id."""
    return await list_address_names(session, page, name)


@router.post("/lineage-graph/refresh")
async def refresh_lineage_graph(session: Session, request: Request) -> Refreshed:
    """Queue a rebuild of the closure of all addresses; the answer does not wait for it."""
    addresses = await service.refresh_closure(session)
    request.app.state.relay.wake()
    return Refreshed(status="success", message=f"The lineage of {addresses} addresses is being rebuilt.")
