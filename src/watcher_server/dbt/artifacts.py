"""The shapes of dbt's files: only what Watcher uses of them, everything else is skipped.

The shapes serve every version that is accepted: dbt adds fields, and those used here are in all of them.
"""

import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from watcher_server.dbt.errors import UploadError
from watcher_server.kit.fields import BIGINT_MAX, INT_MAX, UtcDatetime
from watcher_server.kit.text import check_no_controls

# Of one file, of all kinds together. An entry takes some kilobytes of memory, and a row of the database.
MOST_ENTRIES = 50_000
_SCHEMA = re.compile(r"/(?P<file>[a-z-]+)/v(?P<version>\d{1,4})\.json$")


def _clean(text: str) -> str:
    # PostgreSQL cannot store a NUL; a colour that an adapter put into its message can be stored, and is shown escaped.
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}")[:4000]


def _names(value: Any) -> list[str]:
    """The names in what people wrote as an owner: a text, a list, or an object with a name or an address."""
    if isinstance(value, dict):
        value = [value.get("name"), value.get("email")]
    values = value if isinstance(value, list) else [value]
    return [_clean(name).strip()[:150] for name in values[:10] if isinstance(name, str) and name.strip()]


def _row_count(value: Any) -> int | None:
    """The number of rows, if it is one; -1 and text are what some drivers give for "unknown"."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and 0 <= value <= BIGINT_MAX else None


class WrongPartError(Exception):
    """One entry of a file is wrong. No ``ValueError``: pydantic would go on and collect one for each entry."""

    def __init__(self, error: ValidationError) -> None:
        super().__init__(str(error))
        self.error = error


class TooManyPartsError(Exception):
    """A file has more entries than ``MOST_ENTRIES``."""


def _take_one(value: Any, validate: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
    """One entry; the first that is wrong, or one too many, ends the reading of the file."""
    context: Any = info.context
    context["left"] -= 1
    if context["left"] < 0:
        raise TooManyPartsError
    try:
        return validate(value)
    except ValidationError as error:
        raise WrongPartError(error) from None


Counted = WrapValidator(_take_one)

Text = Annotated[str, AfterValidator(_clean)]
Tag = Annotated[str, Field(max_length=200), AfterValidator(_clean)]
# What may be of any shape is read down to what is used of it at once: as Python's objects it would be large.
People = Annotated[list[str], BeforeValidator(_names)]
Rows = Annotated[int | None, BeforeValidator(_row_count)]
# What becomes part of a name.
Identifier = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(check_no_controls)]
MaybeIdentifier = Annotated[str, Field(max_length=1000), AfterValidator(check_no_controls)] | None


class Shape(BaseModel):
    """A part of a file; unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)


class Metadata(Shape):
    """What each file says of itself; ``invocation_started_at`` came with dbt 1.10."""

    dbt_schema_version: Annotated[str, Field(max_length=200)]
    dbt_version: Annotated[str, Field(max_length=50)] | None = None
    generated_at: UtcDatetime
    invocation_id: Annotated[str, Field(min_length=1, max_length=64), AfterValidator(check_no_controls)]
    invocation_started_at: UtcDatetime | None = None
    adapter_type: MaybeIdentifier = None
    project_name: MaybeIdentifier = None
    project_id: MaybeIdentifier = None


class DependsOn(Shape):
    """The ids of the nodes that a node reads."""

    nodes: Annotated[list[str], Field(max_length=10_000)] = []


class Owner(Shape):
    """Of a group or an exposure."""

    name: People = []
    email: People = []


class Meta(Shape):
    """What people noted about a node."""

    owner: People = []


class NodeConfig(Shape):
    """How a node is built, and what newer versions note only here."""

    materialized: Text | None = None
    tags: list[Tag] | Tag = []
    meta: Meta = Meta()


class Node(Shape):
    """A model, seed, snapshot, test, source, exposure, metric ...: they share what is used of them."""

    unique_id: Identifier
    resource_type: Identifier
    name: Identifier
    package_name: Identifier
    database: MaybeIdentifier = None
    schema_name: MaybeIdentifier = Field(None, alias="schema")
    alias: MaybeIdentifier = None
    identifier: MaybeIdentifier = None
    relation_name: str | None = None
    original_file_path: Text | None = None
    description: Text | None = None
    tags: list[Tag] | Tag = []
    meta: Meta = Meta()
    group: str | None = None
    owner: Owner | None = None
    config: NodeConfig = NodeConfig()
    depends_on: DependsOn = DependsOn()
    attached_node: MaybeIdentifier = None
    label: Text | None = None
    type: Text | None = None
    url: Text | None = None

    @property
    def tag_list(self) -> list[str]:
        """The tags, each once."""
        given = self.tags or self.config.tags
        tags = [given] if isinstance(given, str) else given
        return list(dict.fromkeys(tags))[:50]


class Group(Shape):
    """Models that somebody owns."""

    name: Identifier
    owner: Owner | None = None


Nodes = dict[str, Annotated[Node, Counted]]


class Manifest(Shape):
    """``manifest.json``: what there is, and what reads what. Nodes of every kind are found by :meth:`find`."""

    metadata: Metadata
    nodes: Nodes
    sources: Nodes = {}
    exposures: Nodes = {}
    groups: dict[str, Annotated[Group, Counted]] = {}
    metrics: Nodes = {}
    semantic_models: Nodes = {}
    unit_tests: Nodes = {}

    def find(self, unique_id: str) -> Node | None:
        """The node of that id, of whatever kind; None where there is none."""
        kinds = (self.nodes, self.sources, self.unit_tests, self.semantic_models, self.metrics, self.exposures)
        return next((kind[unique_id] for kind in kinds if unique_id in kind), None)


class Status(StrEnum):
    """How dbt says that a node ended."""

    SUCCESS = "success"
    PASS = "pass"  # noqa: S105 - a test that passed
    WARN = "warn"
    NO_OP = "no-op"
    REUSED = "reused"
    ERROR = "error"
    FAIL = "fail"
    PARTIAL_SUCCESS = "partial success"
    RUNTIME_ERROR = "runtime error"
    SKIPPED = "skipped"

    @property
    def succeeded(self) -> bool:
        """Whether it did what it is for; a warning is no failure."""
        return self in {Status.SUCCESS, Status.PASS, Status.WARN, Status.NO_OP, Status.REUSED}

    @property
    def failed(self) -> bool:
        """Whether it went wrong by itself; what was skipped did not."""
        return self in {Status.ERROR, Status.FAIL, Status.PARTIAL_SUCCESS, Status.RUNTIME_ERROR}


class Timing(Shape):
    """When a step of a node began and ended."""

    started_at: UtcDatetime | None = None
    completed_at: UtcDatetime | None = None


class AdapterResponse(Shape):
    """What the warehouse said."""

    rows_affected: Rows = None


class Result(Shape):
    """How one node ended."""

    unique_id: Identifier
    status: Status
    timing: Annotated[list[Timing], Field(max_length=1000)] = []
    message: Text | None = None
    failures: Annotated[int, Field(ge=-BIGINT_MAX, le=BIGINT_MAX)] | None = None
    adapter_response: AdapterResponse = AdapterResponse()

    @property
    def started_at(self) -> datetime | None:
        """When its first step began; None for what was skipped."""
        return min((step.started_at for step in self.timing if step.started_at), default=None)

    @property
    def completed_at(self) -> datetime | None:
        """When its last step ended."""
        return max((step.completed_at for step in self.timing if step.completed_at), default=None)


class Arguments(Shape):
    """The command line; ``which`` is the command, such as ``build``."""

    which: Annotated[str, Field(max_length=50), AfterValidator(check_no_controls)] | None = None


class RunResults(Shape):
    """``run_results.json``: what an invocation ran."""

    metadata: Metadata
    results: list[Annotated[Result, Counted]]
    elapsed_time: Annotated[float, Field(ge=0, le=1e9)] = 0
    args: Arguments = Arguments()


class Threshold(Shape):
    """How old data may be; both are null where dbt has none."""

    count: Annotated[int, Field(ge=0, le=INT_MAX)] | None = None
    period: Literal["minute", "hour", "day"] | None = None

    @property
    def is_set(self) -> bool:
        """Whether there is a limit; a count of zero is none."""
        return bool(self.count and self.period)


class Criteria(Shape):
    """When dbt warns about a source, and when it is an error."""

    warn_after: Threshold | None = None
    error_after: Threshold | None = None


class SourceResult(Shape):
    """How fresh a source is; one that could not be asked has an ``error`` and no ``max_loaded_at``."""

    unique_id: Identifier
    status: Status
    max_loaded_at: UtcDatetime | None = None
    error: Annotated[str | None, BeforeValidator(lambda value: None if value is None else _clean(str(value)))] = None
    criteria: Criteria | None = None


class Sources(Shape):
    """``sources.json``, or ``freshness.json``: how fresh the sources are."""

    metadata: Metadata
    results: list[Annotated[SourceResult, Counted]]


class Accepted(BaseModel):
    """Which versions of a file can be read: its name in dbt's schemas, and the least and the greatest version."""

    schema_file: str
    least: int
    most: int

    def check(self, file: str, metadata: Metadata) -> None:
        """Refuse a file that says that it is another one, or of another version.

        Raises:
            UploadError: names the version that the file has and those that are accepted.
        """
        versions = f"v{self.least} to v{self.most}" if self.least < self.most else f"v{self.least}"
        found = _SCHEMA.search(metadata.dbt_schema_version)
        if found is None or found["file"] != self.schema_file:
            is_what = f"is {found['file']}" if found else "names no schema of dbt"
            raise UploadError(file, f"{file} {is_what}; Watcher reads {self.schema_file} {versions} here")
        if not self.least <= int(found["version"]) <= self.most:
            raise UploadError(
                file, f"{file} has the schema {self.schema_file} v{found['version']}; Watcher reads {versions}"
            )


ACCEPTED = {
    "manifest": Accepted(schema_file="manifest", least=9, most=12),
    "run_results": Accepted(schema_file="run-results", least=4, most=6),
    "sources": Accepted(schema_file="sources", least=3, most=3),
}
