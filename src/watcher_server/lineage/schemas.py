"""The HTTP shapes of lineage."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from watcher_server.addresses.schemas import AddressPost
from watcher_server.kit.fields import Id, RequestBody, ResponseBody
from watcher_server.pipelines.status import Status

Addresses = Annotated[list[AddressPost], Field(min_length=1)]
# Whoever wants more hops than this wants all of them.
Depth = Annotated[int, Field(ge=1, le=1000)]
# A picture of more shows nothing, and an answer of more keeps everybody waiting.
MOST_NODES = 10_000
NodeLimit = Annotated[int, Field(ge=1, le=MOST_NODES)]


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
    """An address in the lineage graph.

    ``depth`` is how many hops it is from the address that was asked for, below zero when it is upstream. The two counts
    are of its direct neighbours that are not in the answer.
    """

    id: int
    name: str
    address_type_name: str
    address_type_group_name: str
    address_metadata: dict[str, Any] | None
    depth: int
    status: Status
    hidden_upstream: int
    hidden_downstream: int


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
    """What is around one address; ``truncated`` when the limit left out any of what was asked for."""

    nodes: list[GraphNode]
    edges: list[GraphEdge]
    truncated: bool = False


class WritingPipeline(ResponseBody):
    """A pipeline that writes an address."""

    id: int
    name: str


class ReachedAddress(ResponseBody):
    """An address that another one feeds, or is fed by, at any distance, with one of the shortest paths between."""

    id: int
    name: str
    address_type_name: str
    address_type_group_name: str
    depth: int
    lineage_path: list[int]
    pipelines: list[WritingPipeline]


class Reach(ResponseBody):
    """A page of what an address reaches, nearest first, and how many there are in all."""

    address_id: int
    total: int
    addresses: list[ReachedAddress]


class AddressName(ResponseBody):
    """An address to choose from."""

    id: int
    name: str


class Refreshed(ResponseBody):
    """What a refresh set in motion."""

    status: str
    message: str
