"""The HTTP shapes of pipelines and their types."""

from datetime import datetime
from typing import Any, Self

from pydantic import AliasChoices, Field, model_validator

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
from watcher_server.kit.thresholds import check_pairs_carried


class Thresholds(RequestBody):
    """Freshness and timeliness of a pipeline or a type: each a number and its unit."""

    freshness_number: Threshold | None = None
    freshness_datepart: DatePartField | None = None
    timeliness_number: Threshold | None = None
    timeliness_datepart: DatePartField | None = None


class PipelinePost(Thresholds):
    """A pipeline as its own code declares it, before each run."""

    name: Name
    pipeline_type_name: Name
    next_watermark: Watermark | None = None
    pipeline_metadata: Metadata | None = None

    @model_validator(mode="after")
    def _check_pairs(self) -> Self:
        check_pairs_carried(self)
        return self


class PipelineSynced(ResponseBody):
    """What a pipeline needs to know before it runs."""

    id: int
    active: bool
    load_lineage: bool
    watermark: str | None


class PipelineResponse(ResponseBody):
    """A pipeline, whole."""

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
    mute_freshness_check: bool
    timeliness_number: int | None
    timeliness_datepart: str | None
    mute_timeliness_check: bool
    load_lineage: bool
    active: bool
    created_at: datetime
    updated_at: datetime | None


class _Patch(Thresholds):
    name: Name | None = None

    @model_validator(mode="after")
    def _check_identity(self) -> Self:
        if getattr(self, "id", None) is None and self.name is None:
            raise ValueError("Either 'id' or 'name' must be provided")
        return self

    def changes(self) -> dict[str, Any]:
        """The columns to write. With an id, ``name`` is the new name; without one, it says which row."""
        carried = self.carried()
        if carried.pop("id", None) is None or self.name is None:
            carried.pop("name", None)
        return carried


class PipelinePatch(_Patch):
    """Changes to one pipeline; only what is present changes."""

    id: Id | None = Field(default=None, validation_alias=AliasChoices("id", "pipeline_id"))
    pipeline_type_id: Id = 0
    watermark: Watermark | None = None
    next_watermark: Watermark | None = None
    pipeline_metadata: Metadata | None = None
    mute_freshness_check: bool = False
    mute_timeliness_check: bool = False
    load_lineage: bool = False
    active: bool = False


class PipelineTypePost(Thresholds):
    """A pipeline type."""

    name: Name
    mute_freshness_check: bool = False
    mute_timeliness_check: bool = False

    @model_validator(mode="after")
    def _check_pairs(self) -> Self:
        check_pairs_carried(self)
        return self


class PipelineTypePatch(_Patch):
    """Changes to one pipeline type."""

    id: Id | None = None
    mute_freshness_check: bool = False
    mute_timeliness_check: bool = False


class PipelineTypeResponse(ResponseBody):
    """A pipeline type, whole."""

    id: int
    name: str
    freshness_number: int | None
    freshness_datepart: str | None
    mute_freshness_check: bool
    timeliness_number: int | None
    timeliness_datepart: str | None
    mute_timeliness_check: bool
    created_at: datetime
    updated_at: datetime | None
