"""The HTTP shapes of pipelines and their types."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Self
from urllib.parse import urlsplit

from pydantic import MISSING, AfterValidator, BeforeValidator, Field, StringConstraints, model_validator
from sqlalchemy import Row

from watcher_server.database.metadata import Metadata
from watcher_server.database.names import KnownObjectName, ObjectName
from watcher_server.database.parts import pick
from watcher_server.kit.fields import (
    DatePartField,
    Id,
    Name,
    PersonName,
    RequestBody,
    ResponseBody,
    Soon,
    Threshold,
    Watermark,
    normalize_text,
    prefer_given,
)
from watcher_server.kit.patch import NamedPatch
from watcher_server.kit.thresholds import check_pairs_carried
from watcher_server.pipelines.overruns import overrun_text
from watcher_server.pipelines.status import PipelineState, Status, Word
from watcher_server.schedules.calendars import parse_weekdays
from watcher_server.schedules.cron import find_zone, parse_expression
from watcher_server.schedules.planning import next_run


class Thresholds(RequestBody):
    """Freshness and timeliness of a pipeline or a type, and when to warn of them: each a number and its unit."""

    freshness_number: Threshold | None = None
    freshness_datepart: DatePartField | None = None
    freshness_warning_number: Threshold | None = None
    freshness_warning_datepart: DatePartField | None = None
    timeliness_number: Threshold | None = None
    timeliness_datepart: DatePartField | None = None
    timeliness_warning_number: Threshold | None = None
    timeliness_warning_datepart: DatePartField | None = None


class WholeThresholds(Thresholds):
    """Thresholds as a declaration carries them: a number never without its unit, nor a unit without its number."""

    @model_validator(mode="after")
    def _check_pairs(self) -> Self:
        check_pairs_carried(self)
        return self


class Expectations(RequestBody):
    """When a pipeline runs: five-field cron in a time zone (IANA), and how many minutes late a run may start.

    ``freshness_calendar`` are the weekdays in that zone whose time counts for freshness (``mon-fri``); null: all.
    """

    schedule: Annotated[str, StringConstraints(max_length=100), AfterValidator(parse_expression)] | None = None
    schedule_timezone: Annotated[str, StringConstraints(max_length=50), AfterValidator(find_zone)] | MISSING = MISSING
    # A week at most.
    schedule_grace_minutes: Annotated[int, Field(ge=0, le=10_080)] | MISSING = MISSING
    freshness_calendar: Annotated[str, StringConstraints(max_length=50), AfterValidator(parse_weekdays)] | None = None


class Criticality(StrEnum):
    """How much it matters that a pipeline runs: what is wrong with it is told one level lower, as it is, or higher."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


def _check_web_address(address: str) -> str:
    if not address.isprintable() or " " in address:
        raise ValueError("must not contain spaces or control characters")
    try:
        parts = urlsplit(address)
    except ValueError:
        raise ValueError("must be an address of the web") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must begin with http:// or https:// and a host")
    return address


CriticalityField = Annotated[Criticality, BeforeValidator(normalize_text, json_schema_input_type=Criticality)]
WebAddress = Annotated[
    str, StringConstraints(strip_whitespace=True, max_length=500), AfterValidator(_check_web_address)
]


class Importance(RequestBody):
    """Whose a pipeline is, how much it matters, and where it says what to do when something is wrong with it.

    A pipeline that has none of its own has the ``owner`` (or the first of ``owners``) of its metadata, and else those
    of its type.
    """

    owner: PersonName | None = None
    criticality: CriticalityField | None = None
    runbook_url: WebAddress | None = None


# How many runs in a row have to fail before that is an incident.
FailAfter = Annotated[int, Field(ge=1, le=1_000)]


class Overlap(StrEnum):
    """What a pipeline's scheduler does while a run is still open: start no second one, or start it all the same."""

    SKIP = "skip"
    EXPECTED = "expected"


OverlapField = Annotated[Overlap, BeforeValidator(normalize_text, json_schema_input_type=Overlap)]
# A year at most.
LostAfterHours = Annotated[float, Field(gt=0, le=8_784)]


class RunRules(RequestBody):
    """What holds for runs that overlap, never end, or come with a lower watermark.

    ``max_concurrent`` is how many runs may be open at once (null: no limit of its own), ``lost_after_hours`` how long
    a run may be silent (null: as the setting says). With ``monotonic_watermark`` a run never replaces a watermark by a
    lower one.
    """

    max_concurrent: Annotated[int, Field(ge=1, le=1_000)] | None = None
    overlap: OverlapField | MISSING = MISSING
    lost_after_hours: LostAfterHours | None = None
    monotonic_watermark: bool | MISSING = MISSING


class PipelinePost(WholeThresholds, Expectations, Importance, RunRules):
    """A pipeline as its own code declares it, before each run."""

    name: ObjectName
    pipeline_type_name: Name
    next_watermark: Watermark | None = None
    pipeline_metadata: Metadata | None = None
    fail_after: FailAfter | MISSING = MISSING


class PipelineSynced(ResponseBody):
    """The answer that a pipeline needs before it runs."""

    id: int
    active: bool
    load_lineage: bool
    watermark: str | None


class PipelineResponse(ResponseBody):
    """A pipeline, whole. ``display_name`` is the spelling that its name was first sent in; null when that is the name.

    ``status`` is how it does in the worst word that holds, ``also`` are the others, worst first, and ``remark`` what is
    to be said beside them: that its last run took longer than it may. ``state`` is how it stands by its schedule: null
    for one without a schedule that is neither paused nor running. ``expected_next_run`` is the next run, never in the
    past: that one is due already, ``state`` and ``also`` say. ``last_output`` is when a run last ended successfully
    that said which tables it wrote, and perhaps not how many rows. ``openlineage`` is what events of OpenLineage said
    of it; null where none did.
    """

    id: int
    name: str
    display_name: str | None
    pipeline_type_id: int
    watermark: str | None
    next_watermark: str | None
    pipeline_metadata: dict[str, Any] | None
    openlineage: dict[str, Any] | None
    last_target_insert: datetime | None
    last_target_update: datetime | None
    last_target_soft_delete: datetime | None
    last_output: datetime | None
    freshness_number: int | None
    freshness_datepart: str | None
    freshness_warning_number: int | None
    freshness_warning_datepart: str | None
    freshness_calendar: str | None
    mute_freshness_check: bool
    timeliness_number: int | None
    timeliness_datepart: str | None
    timeliness_warning_number: int | None
    timeliness_warning_datepart: str | None
    mute_timeliness_check: bool
    mute_until: datetime | None
    schedule: str | None
    schedule_timezone: str
    schedule_grace_minutes: int
    expected_next_run: datetime | None
    last_missed_run: datetime | None
    status: Status
    also: list[Word]
    remark: Annotated[str | None, BeforeValidator(overrun_text)]
    state: PipelineState | None
    owner: str | None
    criticality: str | None
    runbook_url: str | None
    fail_after: int
    max_concurrent: int | None
    overlap: Overlap
    lost_after_hours: float | None
    monotonic_watermark: bool
    load_lineage: bool
    active: bool
    archived_at: datetime | None
    created_at: datetime
    updated_at: datetime | None

    @model_validator(mode="after")
    def _expect_nothing_in_the_past(self) -> Self:
        self.expected_next_run = next_run(self.schedule, self.schedule_timezone, self.expected_next_run)
        return self


_SHOWN = tuple(PipelineResponse.model_fields)


def shown_fields(rows: Sequence[Row[Any]]) -> Iterator[dict[str, Any]]:
    """The fields of :class:`PipelineResponse` from each row of a list, which the database keeps valid."""
    for fields in pick(rows, _SHOWN):
        fields["remark"] = overrun_text(fields["remark"])
        zone, expected = fields["schedule_timezone"], fields["expected_next_run"]
        fields["expected_next_run"] = next_run(fields["schedule"], zone, expected)
        yield fields


class PipelineWithUrl(PipelineResponse):
    """A pipeline, and its ping URL for who may write; null for others."""

    ping_url: str | None = None


class PipelinePatch(NamedPatch, Thresholds, Expectations, Importance, RunRules):
    """Changes to one pipeline; a field that is left out stays. ``pipeline_id`` is another spelling of ``id``."""

    other_spellings: ClassVar[frozenset[str]] = frozenset({"pipeline_id"})

    name: KnownObjectName | None = None
    pipeline_type_id: Id | MISSING = MISSING
    watermark: Watermark | None = None
    next_watermark: Watermark | None = None
    pipeline_metadata: Metadata | None = None
    mute_freshness_check: bool | MISSING = MISSING
    mute_timeliness_check: bool | MISSING = MISSING
    mute_until: Soon | None = None
    load_lineage: bool | MISSING = MISSING
    active: bool | MISSING = MISSING
    fail_after: FailAfter | MISSING = MISSING

    @model_validator(mode="before")
    @classmethod
    def _accept_pipeline_id(cls, data: Any) -> Any:
        return prefer_given(data, "id", *cls.other_spellings)


class PipelineTypePost(WholeThresholds, Importance):
    """A pipeline type."""

    name: Name
    mute_freshness_check: bool = False
    mute_timeliness_check: bool = False


class PipelineTypePatch(NamedPatch, Thresholds, Importance):
    """Changes to one pipeline type; a field that is left out stays."""

    mute_freshness_check: bool | MISSING = MISSING
    mute_timeliness_check: bool | MISSING = MISSING
    mute_until: Soon | None = None


class PipelineTypeResponse(ResponseBody):
    """A pipeline type, whole."""

    id: int
    name: str
    freshness_number: int | None
    freshness_datepart: str | None
    freshness_warning_number: int | None
    freshness_warning_datepart: str | None
    mute_freshness_check: bool
    timeliness_number: int | None
    timeliness_datepart: str | None
    timeliness_warning_number: int | None
    timeliness_warning_datepart: str | None
    mute_timeliness_check: bool
    mute_until: datetime | None
    owner: str | None
    criticality: str | None
    runbook_url: str | None
    created_at: datetime
    updated_at: datetime | None
