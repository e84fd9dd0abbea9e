"""The HTTP shapes of executions."""

from datetime import datetime
from typing import Any

from pydantic import AliasChoices, Field

from watcher_server.kit.fields import Count, Id, Metadata, RequestBody, ResponseBody, UtcDatetime, Watermark


class ExecutionStart(RequestBody):
    """A run that begins; ``start_date`` is now unless it says otherwise."""

    pipeline_id: Id
    start_date: UtcDatetime | None = None
    watermark: Watermark | None = None
    next_watermark: Watermark | None = None
    parent_id: Id | None = Field(default=None, validation_alias=AliasChoices("parent_id", "parent_execution_id"))


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


class ExecutionResponse(ResponseBody):
    """An execution, whole, with everything below it."""

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
    child_executions: list["ExecutionResponse"]
