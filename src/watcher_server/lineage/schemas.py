"""The HTTP shapes of lineage."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from watcher_server.addresses.schemas import AddressPost
from watcher_server.kit.fields import Id, RequestBody, ResponseBody

Addresses = Annotated[list[AddressPost], Field(min_length=1)]
# Each hop looks at all that was found before it. Whoever wants more hops than this wants all of them.
Depth = Annotated[int, Field(ge=1, le=1000)]


class Direction(StrEnum):
    """Which way to walk: towards what feeds an address, towards what it feeds, or both."""

    UPSTREAM = "upstream"
    DOWNSTREAM = "downstream"
    BOTH = "both"


class AddressLineagePost(RequestBody):
    """What a pipeline reads and what it writes; every source feeds every target."""

    pipeline_id: Id
    source_addresses: Addresses
    target_addresses: Addresses


class AddressLineageLoaded(ResponseBody):
    """How many edges the pipeline has after the load."""

    pipeline_id: int
    lineage_relationships_created: int
    message: str


class GraphNode(ResponseBody):
    """An address in the lineage graph."""

    id: int
    name: str
    address_type_name: str
    address_type_group_name: str
    address_metadata: dict[str, Any] | None


class GraphEdge(ResponseBody):
    """One pipeline's direct edge between two addresses of the graph."""

    source_address_id: int
    target_address_id: int
    depth: int
    lineage_path: list[int]
    pipeline_id: int
    pipeline_name: str
    pipeline_type_name: str
    pipeline_metadata: dict[str, Any] | None
    pipeline_active: bool


class LineageGraph(ResponseBody):
    """Everything around one address."""

    nodes: list[GraphNode]
    edges: list[GraphEdge]


class AddressName(ResponseBody):
    """An address to choose from."""

    id: int
    name: str


class Refreshed(ResponseBody):
    """What a refresh set in motion."""

    status: str
    message: str
