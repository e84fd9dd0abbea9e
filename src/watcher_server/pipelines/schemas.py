"""The HTTP shapes of pipelines and their types."""

from datetime import datetime
from typing import Any, Self

from pydantic import MISSING, model_validator

from watcher_server.kit.aliases import prefer_given
from watcher_server.kit.fields import (
    DatePartField,
    Id,
    Metadata,
    Name,
    RequestBody,
    ResponseBody,
    Threshold,
    Watermark,
)
from watcher_server.kit.patch import NamedPatch
from watcher_server.kit.thresholds import check_pairs_carried
from watcher_server.pipelines.states import PipelineState
from watcher_server.schedules.schemas import CronExpression, GraceMinutes, ZoneName


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
    """When a pipeline runs: five-field cron in a time zone (IANA), and how many minutes late a run may start."""

    schedule: CronExpression | None = None
    schedule_timezone: ZoneName | MISSING = MISSING
    schedule_grace_minutes: GraceMinutes | MISSING = MISSING


class PipelinePost(WholeThresholds, Expectations):
    """A pipeline as its own code declares it, before each run."""

    name: Name
    pipeline_type_name: Name
    next_watermark: Watermark | None = None
    pipeline_metadata: Metadata | None = None


class PipelineSynced(ResponseBody):
    """What a pipeline needs to know before it runs."""

    id: int
    active: bool
    load_lineage: bool
    watermark: str | None


class PipelineResponse(ResponseBody):
    """A pipeline, whole. ``state`` is null for one without a schedule that is neither paused nor running."""

    id: int
    name: str
    pipeline_type_id: int
    watermark: str | None
    next_watermark: str | None
    pipeline_metadata: dict[str, Any] | None
    last_target_insert: datetime | None
    last_target_update: datetime | None
    last_target_soft_delete: datetime | None
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
    schedule: str | None
    schedule_timezone: str
    schedule_grace_minutes: int
    expected_next_run: datetime | None
    last_missed_run: datetime | None
    state: PipelineState | None
    load_lineage: bool
    active: bool
    created_at: datetime
    updated_at: datetime | None


class PipelinePatch(NamedPatch, Thresholds, Expectations):
    """Changes to one pipeline; only what is present changes. ``pipeline_id`` is another spelling of ``id``."""

    pipeline_type_id: Id | MISSING = MISSING
    watermark: Watermark | None = None
    next_watermark: Watermark | None = None
    pipeline_metadata: Metadata | None = None
    mute_freshness_check: bool | MISSING = MISSING
    mute_timeliness_check: bool | MISSING = MISSING
    load_lineage: bool | MISSING = MISSING
    active: bool | MISSING = MISSING

    @model_validator(mode="before")
    @classmethod
    def _accept_pipeline_id(cls, data: Any) -> Any:
        return prefer_given(data, "id", "pipeline_id")


class PipelineTypePost(WholeThresholds):
    """A pipeline type."""

    name: Name
    mute_freshness_check: bool = False
    mute_timeliness_check: bool = False


class PipelineTypePatch(NamedPatch, Thresholds):
    """Changes to one pipeline type; only what is present changes."""

    mute_freshness_check: bool | MISSING = MISSING
    mute_timeliness_check: bool | MISSING = MISSING


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
    created_at: datetime
    updated_at: datetime | None
