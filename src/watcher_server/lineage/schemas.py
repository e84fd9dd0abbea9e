"""The HTTP shapes of lineage."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from pydantic import FailFast, Field

from watcher_server.addresses.schemas import AddressPost
from watcher_server.kit.fields import Id, RequestBody, ResponseBody
from watcher_server.pipelines.status import Status

# Validation ends at the first address that is wrong: collecting every error of a long list costs more than the load.
Addresses = Annotated[list[AddressPost], FailFast(), Field(min_length=1, max_length=10_000)]
# A client that wants more hops than this leaves the parameter out and gets all of them.
Depth = Annotated[int, Field(ge=1, le=1000)]
# An answer with more addresses takes too long, and a drawing of it cannot be read.
MOST_NODES = 10_000
# A hundred thousand edges, which forty kilobytes can load, would make an answer of 30 MB.
MOST_EDGES = 20_000
NodeLimit = Annotated[int, Field(ge=1, le=MOST_NODES)]


class Direction(StrEnum):
    """Which way to walk: towards what feeds an address, towards what it feeds, or both."""

    UPSTREAM = "upstream"
    DOWNSTREAM = "downstream"
    BOTH = "both"


class AddressLineagePost(RequestBody):
    """What a pipeline reads and what it writes; every source feeds every target.

    ``replace`` loads it whatever the pipeline's ``load_lineage`` says.
    """

    pipeline_id: Id
    source_addresses: Addresses
    target_addresses: Addresses
    replace: bool = False


class AddressLineageLoaded(ResponseBody):
    """How many edges the pipeline has after the load."""

    pipeline_id: int
    lineage_relationships_created: int
    message: str


class AddressLineageSkipped(AddressLineageLoaded):
    """The answer to a call that changed nothing; ``what_to_do`` says how to change it."""

    what_to_do: str


# Thousands of these are in an answer: as models, each would be checked by itself.
@dataclass(frozen=True, slots=True)
class GraphNode:
    """An address in the lineage graph.

    ``depth`` is its distance in hops from the address in the request, below zero when it is upstream. The two numbers
    ``hidden_…`` count its direct neighbours that are not in the answer.
    """

    id: int
    name: str
    display_name: str | None
    address_type_name: str
    address_type_group_name: str
    address_metadata: dict[str, Any] | None
    depth: int
    status: Status
    hidden_upstream: int
    hidden_downstream: int

    @property
    def shown_name(self) -> str:
        """What pages call it."""
        return self.display_name or self.name


@dataclass(frozen=True, slots=True)
class GraphEdge:
    """One pipeline's direct edge between two addresses of the graph.

    ``origin`` is ``declared`` (by a request or dbt's files) or ``openlineage`` (seen in events).
    """

    source_address_id: int
    target_address_id: int
    depth: int
    lineage_path: list[int]
    pipeline_id: int
    pipeline_name: str
    pipeline_type_name: str
    pipeline_metadata: dict[str, Any] | None
    pipeline_active: bool
    origin: str


class LineageGraph(ResponseBody):
    """The graph around one address; ``truncated`` when a limit left out an address or an edge.

    Of more than 20,000 edges, those among the nearest addresses are there.
    """

    nodes: list[GraphNode]
    edges: list[GraphEdge]
    truncated: bool = False


class WritingPipeline(ResponseBody):
    """A pipeline that writes an address."""

    id: int
    name: str


class ReachedAddress(ResponseBody):
    """An address upstream or downstream of another, at any distance, with one of the shortest paths between them."""

    id: int
    name: str
    address_type_name: str
    address_type_group_name: str
    depth: int
    lineage_path: list[int]
    pipelines: list[WritingPipeline]


class Reach(ResponseBody):
    """A page of the addresses that an address reaches, nearest first; ``total`` counts all of them."""

    address_id: int
    total: int
    addresses: list[ReachedAddress]


class AddressName(ResponseBody):
    """An address to choose from."""

    id: int
    name: str
