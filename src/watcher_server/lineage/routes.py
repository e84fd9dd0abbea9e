"""Lineage over HTTP. The page for people is at /lineage-graph; the same address with a slash answers JSON."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from watcher_server.addresses.models import Address
from watcher_server.addresses.service import list_addresses
from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.kit.fields import Id, SearchText
from watcher_server.kit.listing import Page, read_page
from watcher_server.lineage import graph, impact, service
from watcher_server.lineage.schemas import (
    MOST_NODES,
    AddressLineageLoaded,
    AddressLineagePost,
    AddressName,
    Depth,
    Direction,
    LineageGraph,
    NodeLimit,
    Reach,
    Refreshed,
)

router = APIRouter(route_class=JsonRoute, tags=["lineage"])

MaxDepth = Annotated[Depth | None, Query(description="At most so many hops away; all without it.")]


@router.post("/address_lineage", status_code=201, responses={200: {"model": AddressLineageLoaded}})
async def post_address_lineage(
    body: AddressLineagePost, session: Session, request: Request, response: Response
) -> AddressLineageLoaded:
    """Replace what a pipeline reads and writes; 200 when the pipeline's ``load_lineage`` is false."""
    loaded = await service.load_lineage(session, body)
    if loaded is None:
        response.status_code = 200
        message = f"lineage relationships not created: load_lineage is not set for pipeline {body.pipeline_id}"
    else:
        request.app.state.relay.wake()
        message = f"lineage relationships created for pipeline {body.pipeline_id}"
    return AddressLineageLoaded(
        pipeline_id=body.pipeline_id, lineage_relationships_created=loaded or 0, message=message
    )


@router.get("/lineage-graph/")
async def get_lineage_graph(
    session: Session,
    source_address_id: Annotated[Id, Query(description="The address to look from.")],
    direction: Direction = Direction.BOTH,
    depth: Annotated[Depth | None, Query(description="At most so many hops away; all without it.")] = None,
    limit: Annotated[NodeLimit, Query(description="At most so many addresses, the nearest.")] = MOST_NODES,
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
    """What is affected when this address is wrong or late: all that it feeds, nearest first, and who writes it."""
    return await impact.read_downstream(session, address_id, page, max_depth)


@router.get("/address/{address_id}/upstream")
async def list_upstream(
    address_id: Annotated[Id, Path()],
    session: Session,
    page: Annotated[Page, Depends(read_page)],
    max_depth: MaxDepth = None,
) -> Reach:
    """What this address is made of: all that feeds it, nearest first, and who writes it."""
    return await impact.read_upstream(session, address_id, page, max_depth)


@router.get("/lineage-graph/addresses", response_model=list[AddressName])
async def list_graph_addresses(
    session: Session,
    page: Annotated[Page, Depends(read_page)],
    name: Annotated[SearchText | None, Query(description="Any part of the name.")] = None,
) -> Sequence[Address]:
    """The addresses to choose from, by id."""
    return await list_addresses(session, page, name=name)


@router.post("/lineage-graph/refresh")
async def refresh_lineage_graph(session: Session, request: Request) -> Refreshed:
    """Have the closure of all addresses rebuilt; the answer does not wait for it."""
    addresses = await service.refresh_closure(session)
    request.app.state.relay.wake()
    return Refreshed(status="success", message=f"The lineage of {addresses} addresses is being rebuilt.")
