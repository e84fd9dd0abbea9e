"""What the receiver of events answers."""

from typing import Literal

from pydantic import BaseModel


class EventAccepted(BaseModel):
    """The event is stored, and is applied a moment later."""

    event_id: int


class BatchSummary(BaseModel):
    """How many events of a batch came to what. None of them can be sent again with another result."""

    received: int
    successful: int
    failed: int
    retriable: int = 0
    non_retriable: int


class FailedElement(BaseModel):
    """An element of a batch that is no event; ``index`` is its place, from 0."""

    index: int
    reason: str
    retriable: bool = False


class BatchAccepted(BaseModel):
    """What became of a batch."""

    status: Literal["success", "partial_success"]
    summary: BatchSummary
    failed_events: list[FailedElement]
