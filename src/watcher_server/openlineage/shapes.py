"""The shapes of the facets that are used: the fields that are kept of them, within bounds.

Facets evolve weekly, so unknown fields are ignored; a strict receiver would lose what cannot be sent again.
"""

import json
from collections.abc import Callable
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from watcher_server.kit.fields import BIGINT_MAX
from watcher_server.openlineage.envelope import hide_user, read_moment

MOST_MESSAGE: Final = 4_000
_MOST_DOCUMENT: Final = 64 * 1024
_MOST_LISTED: Final = 500
MOST_SOURCES: Final = 10_000


def _number(value: Any) -> int | None:
    """A number of rows, bytes or files, if it is one: some drivers give -1, NaN or text for "unknown"."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and 0 <= value <= BIGINT_MAX else None


def _text_of(value: Any) -> Any:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _cut(most: int) -> AfterValidator:
    return AfterValidator(lambda text: text[:most])


def _moment(value: Any) -> str | None:
    moment = read_moment(value)
    return moment.isoformat() if moment else None


def _first(most: int) -> AfterValidator:
    return AfterValidator(lambda items: items[:most])


def _only(wanted: type) -> Callable[[Any], Any]:
    return lambda value: value if isinstance(value, wanted) else None


def _lenient_list(value: Any) -> Any:
    return value if isinstance(value, list) else []


def _lenient(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    """What is of another shape than expected is as if it were not there."""
    try:
        return read(value)
    except ValidationError:
        return None


def _any_text(value: Any) -> Any:
    return value if value is None or isinstance(value, str) else json.dumps(value, default=str)


Short = Annotated[str, BeforeValidator(_text_of), _cut(200)] | None
Long = Annotated[str, BeforeValidator(_text_of), _cut(MOST_MESSAGE)] | None
Url = Annotated[str, _cut(2_000)] | None
Number = Annotated[int | None, BeforeValidator(_number)]
Moment = Annotated[str | None, BeforeValidator(_moment)]
Namespace = Annotated[str, AfterValidator(str.strip), AfterValidator(hide_user)]


class Shape(BaseModel):
    """A part of a facet; unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)


class Named(Shape):
    namespace: Namespace
    name: Namespace


class Run(Shape):
    runId: Annotated[str, AfterValidator(str.strip)]  # noqa: N815 - OpenLineage's name, as all below


class Root(Shape):
    run: Run
    job: Named


class Parent(Shape):
    run: Run
    job: Named
    root: Annotated[Root | None, WrapValidator(_lenient)] = None


class ErrorMessage(Shape):
    message: Annotated[str, BeforeValidator(_text_of), _cut(MOST_MESSAGE)]
    programmingLanguage: Short = None  # noqa: N815
    stackTrace: Annotated[str, _cut(16 * 1024)] | None = None  # noqa: N815


class NominalTime(Shape):
    nominalStartTime: Moment = None  # noqa: N815
    nominalEndTime: Moment = None  # noqa: N815


class Engine(Shape):
    name: Short = None
    version: Short = None
    openlineageAdapterVersion: Short = None  # noqa: N815


class Query(Shape):
    externalQueryId: Short = None  # noqa: N815
    source: Short = None


class ExtractionError(Shape):
    failedTasks: Number = None  # noqa: N815


class Tag(Shape):
    key: Annotated[str, BeforeValidator(_text_of), _cut(100)]
    value: Annotated[str, BeforeValidator(lambda value: _any_text(value) or ""), _cut(100)] = ""
    source: Short = None


class Tags(Shape):
    tags: Annotated[list[Tag], BeforeValidator(_lenient_list), _first(100)] = Field(default_factory=list)


class Test(Shape):
    name: Annotated[str, _cut(300)]
    status: Annotated[str, _cut(20)]
    severity: Short = None
    column: Short = None


class Tests(Shape):
    tests: Annotated[list[Test], _first(_MOST_LISTED)]


class DagsterCheck(Shape):
    assertion: Annotated[str, _cut(300)]
    passed: bool
    severity: Short = None


class DagsterChecks(Shape):
    checks: Annotated[list[DagsterCheck], _first(_MOST_LISTED)]


class Assertion(Shape):
    assertion: Annotated[str, _cut(300)] = ""
    name: Annotated[str, _cut(300)] | None = None
    success: bool
    column: Short = None
    severity: Short = None


class Assertions(Shape):
    assertions: Annotated[list[Assertion], _first(_MOST_LISTED)]


class TimetableShape(Shape):
    expression: Annotated[str, _cut(200)] | None = None
    timezone: Annotated[str, _cut(100)] | None = None


class Dag(Shape):
    timetable: Annotated[TimetableShape | None, BeforeValidator(_only(dict))] = None
    schedule_interval: Annotated[str | None, BeforeValidator(_only(str))] = None


class DagRun(Shape):
    run_id: Short = None
    run_type: Short = None
    start_date: Moment = None


class Task(Shape):
    retries: Number = None


class TaskInstance(Shape):
    try_number: Number = None
    map_index: Annotated[int | None, BeforeValidator(_only(int))] = None
    log_url: Url = None


class Airflow(Shape):
    # Each by itself: what one version of Airflow says otherwise hides nothing of the rest.
    dag: Annotated[Dag | None, WrapValidator(_lenient)] = None
    dagRun: Annotated[DagRun | None, WrapValidator(_lenient)] = None  # noqa: N815
    task: Annotated[Task | None, WrapValidator(_lenient)] = None
    taskInstance: Annotated[TaskInstance | None, WrapValidator(_lenient)] = None  # noqa: N815


class AirflowState(Shape):
    tasksState: Annotated[  # noqa: N815
        dict[str, str], AfterValidator(lambda states: dict(sorted(states.items())[:1_000]))
    ] = Field(default_factory=dict)


class DbtRun(Shape):
    invocation_id: Short = None


class DbtNode(Shape):
    unique_id: Short = None
    original_file_path: Short = None


class Version(Shape):
    version: Short = None


class Emission(Shape):
    windowDuration: Number = None  # noqa: N815


class JobType(Shape):
    processingType: Short = None  # noqa: N815
    integration: Annotated[str, _cut(50)] = ""
    jobType: Annotated[str, _cut(50)] | None = None  # noqa: N815
    emissionPattern: Emission | None = None  # noqa: N815


class Owner(Shape):
    name: Annotated[str, BeforeValidator(_text_of), _cut(150)]


class Ownership(Shape):
    owners: Annotated[list[Owner], BeforeValidator(_lenient_list), _first(20)] = Field(default_factory=list)


class Documentation(Shape):
    description: Annotated[str, _cut(_MOST_DOCUMENT)]


class Sql(Shape):
    query: Annotated[str, _cut(_MOST_DOCUMENT)]


class CodeLocation(Shape):
    url: Url = None
    repoUrl: Url = None  # noqa: N815
    path: Url = None
    version: Short = None
    branch: Short = None


class Source(Shape):
    type: Short = None
    namespace: Namespace | None = None
    name: Namespace | None = None


class FieldSources(Shape):
    inputFields: Annotated[list[Source], BeforeValidator(_lenient_list)] = Field(default_factory=list)  # noqa: N815
    inputs: Annotated[list[Source], BeforeValidator(_lenient_list)] = Field(default_factory=list)


class ColumnLineage(Shape):
    fields: dict[str, FieldSources] = Field(default_factory=dict)
    dataset: Annotated[list[Source], BeforeValidator(_lenient_list)] = Field(default_factory=list)

    @property
    def sources(self) -> list[Source]:
        return [*(source for field in self.fields.values() for source in field.inputFields), *self.dataset]


class Lineage(Shape):
    inputs: Annotated[list[Source], BeforeValidator(_lenient_list)] = Field(default_factory=list)
    fields: Annotated[dict[str, FieldSources], BeforeValidator(lambda value: value or {})] = Field(default_factory=dict)

    @property
    def sources(self) -> list[Source]:
        return [*self.inputs, *(source for field in self.fields.values() for source in field.inputs)]


class LineageEntry(Lineage):
    type: Short = None
    namespace: Namespace | None = None
    name: Namespace | None = None


class JobLineage(Shape):
    entries: Annotated[list[LineageEntry], _first(MOST_SOURCES)]


class SchemaField(Shape):
    name: Annotated[str, BeforeValidator(_text_of), _cut(300)]
    type: Annotated[str, BeforeValidator(_text_of), _cut(300)] | None = None
    description: Annotated[str, _cut(1_000)] | None = None
    fields: "Annotated[list[SchemaField], BeforeValidator(_lenient_list)]" = Field(default_factory=list)


class Schema(Shape):
    fields: Annotated[list[SchemaField], BeforeValidator(_lenient_list)] = Field(default_factory=list)


class Statistics(Shape):
    rowCount: Number = None  # noqa: N815
    size: Number = None
    fileCount: Number = None  # noqa: N815


class Symlinks(Shape):
    identifiers: Annotated[list[Named], BeforeValidator(_lenient_list), _first(50)] = Field(default_factory=list)


class Lifecycle(Shape):
    lifecycleStateChange: Annotated[str, AfterValidator(str.upper), _cut(20)]  # noqa: N815
    previousIdentifier: Named | None = None  # noqa: N815


class DbtConfig(Shape):
    materialized: Short = None


class DbtModel(Shape):
    config: DbtConfig = Field(default_factory=DbtConfig)


class Exposure(Shape):
    name: Annotated[str, _cut(300)]
    type: Short = None
    url: Url = None
    label: Short = None


class Exposures(Shape):
    exposures: Annotated[list[Exposure], _first(100)]


class Small(Shape):
    datasetType: Short = None  # noqa: N815
    fileFormat: Short = None  # noqa: N815
    name: Short = None
    datasetVersion: Short = None  # noqa: N815


class Code(Shape):
    sourceCode: str  # noqa: N815
