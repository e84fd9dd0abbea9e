"""Lineage over HTTP. The page for people is at /lineage-graph; the same address with a slash answers JSON."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from sqlalchemy import Row

from watcher_server.addresses.service import list_address_names
from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
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

router = APIRouter(route_class=JsonRoute, tags=["lineage"])

MaxDepth = Annotated[Depth | None, Query(description="The greatest distance in hops; all without it.")]


# What a client is told whose lineage was not loaded.
WHAT_TO_DO = (
    "The lineage of a pipeline is kept after its first successful run. Send this request again with "
    '"replace": true to replace it, or set load_lineage with PATCH /pipeline.'
)


@router.post("/address_lineage", status_code=201, responses={200: {"model": AddressLineageSkipped}})
async def post_address_lineage(
    body: AddressLineagePost, session: Session, request: Request, response: Response
) -> AddressLineageSkipped | AddressLineageLoaded:
    """Replace what a pipeline reads and writes.

    200, and nothing changes, when the pipeline's ``load_lineage`` is false and the body does not have ``replace``.
    """
    loaded = await service.load_lineage(session, body)
    if loaded is None:
        response.status_code = 200
        return AddressLineageSkipped(
            pipeline_id=body.pipeline_id,
            lineage_relationships_created=0,
            message=f"lineage relationships not created: load_lineage is not set for pipeline {body.pipeline_id}",
            what_to_do=WHAT_TO_DO,
        )
    request.app.state.relay.wake()
    return AddressLineageLoaded(
        pipeline_id=body.pipeline_id,
        lineage_relationships_created=loaded,
        message=f"lineage relationships created for pipeline {body.pipeline_id}",
    )


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
