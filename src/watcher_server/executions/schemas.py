"""The HTTP shapes of executions."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field, model_validator

from watcher_server.kit.aliases import prefer_given
from watcher_server.kit.fields import Count, Id, Metadata, Offset, RequestBody, ResponseBody, UtcDatetime, Watermark


class ExecutionStart(RequestBody):
    """A run that begins; ``start_date`` is now unless it says otherwise."""

    pipeline_id: Id
    start_date: UtcDatetime | None = None
    watermark: Watermark | None = None
    next_watermark: Watermark | None = None
    parent_id: Id | None = None

    @model_validator(mode="before")
    @classmethod
    def _read_either_spelling(cls, data: Any) -> Any:
        # The SDK's spelling in one of its calls.
        return prefer_given(data, "parent_id", "parent_execution_id")


class ExecutionEnd(RequestBody):
    """A run that ended, and what it did; ``end_date`` is now unless it says otherwise."""

    id: Id
    end_date: UtcDatetime | None = None
    completed_successfully: bool
    inserts: Count | None = None
    updates: Count | None = None
    soft_deletes: Count | None = None
    total_rows: Count | None = None
    execution_metadata: Metadata | None = None


class ExecutionQuery(BaseModel):
    """Which executions a list holds. There may be millions, so a list is always a page."""

    pipeline_id: Id | None = None
    parent_id: Id | None = None
    completed_successfully: bool | None = None
    running: bool | None = None
    newest_first: bool = False
    limit: Annotated[int, Field(ge=0, le=1000)] = 100
    offset: Offset = 0


class ExecutionFacts(ResponseBody):
    """An execution, without what is below it."""

    id: int
    parent_id: int | None
    pipeline_id: int
    start_date: datetime
    end_date: datetime | None
    duration_seconds: int | None
    completed_successfully: bool | None
    inserts: int | None
    updates: int | None
    soft_deletes: int | None
    total_rows: int | None
    watermark: str | None
    next_watermark: str | None
    execution_metadata: dict[str, Any] | None
    anomaly_flags: dict[str, bool]
    throughput: float | None


class ExecutionResponse(ExecutionFacts):
    """An execution, whole, with everything below it."""

    child_executions: list["ExecutionResponse"]
