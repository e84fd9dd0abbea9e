"""The HTTP shapes of executions."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, StringConstraints, model_validator

from watcher_server.database.metadata import Metadata
from watcher_server.kit.fields import (
    Count,
    Id,
    Offset,
    RequestBody,
    ResponseBody,
    UtcDatetime,
    Watermark,
    check_no_nul,
    prefer_given,
)

IdempotencyKey = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(check_no_nul)]


class ExecutionStart(RequestBody):
    """A run that begins; ``start_date`` is now unless it says otherwise.

    A ``backfill`` loads the past: it moves neither the watermark nor the last write. A start that is sent again with
    the same ``idempotency_key`` within a day starts nothing, and gets the first answer.
    """

    pipeline_id: Id
    start_date: UtcDatetime | None = None
    watermark: Watermark | None = None
    next_watermark: Watermark | None = None
    parent_id: Id | None = None
    backfill: bool = False
    idempotency_key: IdempotencyKey | None = None

    @model_validator(mode="before")
    @classmethod
    def _read_either_spelling(cls, data: Any) -> Any:
        # The SDK's spelling in one of its calls.
        return prefer_given(data, "parent_id", "parent_execution_id")


class ExecutionEnd(RequestBody):
    """A run that ended, and what it did; ``end_date`` is now unless it says otherwise.

    ``nothing_to_do`` says that it looked, and that there was nothing to write.
    """

    id: Id
    end_date: UtcDatetime | None = None
    completed_successfully: bool
    inserts: Count | None = None
    updates: Count | None = None
    soft_deletes: Count | None = None
    total_rows: Count | None = None
    nothing_to_do: bool = False
    execution_metadata: Metadata | None = None


class ExecutionQuery(BaseModel):
    """Which executions a list holds. There may be millions, so a list is always a page."""

    pipeline_id: Id | None = None
    parent_id: Id | None = None
    completed_successfully: bool | None = None
    outcome: Literal["lost", "aborted", "retried"] | None = None
    running: bool | None = None
    newest_first: bool = False
    limit: Annotated[int, Field(ge=0, le=1000)] = 100
    offset: Offset = 0


class ExecutionFacts(ResponseBody):
    """An execution, without what is below it.

    Its dates are those that were sent, ``clock_skew_seconds`` is how far ahead of the server's clock they were.
    ``outcome`` is ``lost`` for one that was silent for too long: it was ended when it was heard last. It is ``aborted``
    for one that was stopped, or not begun because of another one, and ``retried`` for a try that failed and is tried
    again. None of these counts as failing. Otherwise it is null.
    """

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
    duration_ms: int | None
    clock_skew_seconds: float | None
    outcome: str | None
    backfill: bool
    nothing_to_do: bool


class ExecutionResponse(ExecutionFacts):
    """An execution with everything below it."""

    child_executions: list["ExecutionResponse"]


class ExecutionTree(ExecutionResponse):
    """An execution with everything below it; ``truncated`` when there is more than an answer holds."""

    truncated: bool = False
