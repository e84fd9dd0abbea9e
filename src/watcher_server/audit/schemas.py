"""The trail as it is asked for and answered."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from watcher_server.audit.acting import ActorKind
from watcher_server.kit.fields import Id, ResponseBody, UtcDatetime, bounded

_Word = Annotated[str, StringConstraints(strip_whitespace=True, max_length=300), bounded(300)]


class AuditFilter(BaseModel):
    """Which entries are wanted; a filter that is left out or empty filters nothing."""

    model_config = ConfigDict(extra="ignore")

    actor: Annotated[_Word | None, Field(description="The name of who did it, in full.")] = None
    action: Annotated[_Word | None, Field(description="What was done, such as `change`.")] = None
    object_kind: Annotated[_Word | None, Field(description="What it was done to, such as `pipeline`.")] = None
    object_id: Annotated[_Word | None, Field(description="The id of that, or its name where it has no id.")] = None
    since: Annotated[UtcDatetime | None, Field(description="Not before this moment.")] = None
    until: Annotated[UtcDatetime | None, Field(description="Before this moment.")] = None
    q: Annotated[
        _Word | None, Field(description="Any part of a name, an actor, a source, an action, or of what changed.")
    ] = None


class AuditQuery(AuditFilter):
    """A page of the trail."""

    cursor: Annotated[Id | None, Field(description="The `next_cursor` of the page before.")] = None
    limit: Annotated[int, Field(ge=1, le=1_000)] = 100


class AuditEntryResponse(ResponseBody):
    """A change.

    ``before`` and ``after`` hold the fields that differ, secrets as `***`; ``before`` is null for what was created,
    ``after`` for what was removed.
    """

    id: int
    at: datetime
    actor: str
    actor_kind: ActorKind
    source: str
    action: str
    object_kind: str
    object_id: str | None
    object_name: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    request_id: str | None


class AuditPage(ResponseBody):
    """The newest entries first; ``next_cursor`` asks for those before them, and is null at the end."""

    entries: list[AuditEntryResponse]
    next_cursor: int | None
