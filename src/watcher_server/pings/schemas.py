"""What the body of a ping may say."""

from datetime import datetime
from typing import Annotated

from pydantic import StringConstraints

from watcher_server.database.metadata import Metadata
from watcher_server.database.names import ObjectName
from watcher_server.kit.fields import Count, Id, KnownName, RequestBody, ResponseBody, UtcDatetime, Watermark
from watcher_server.pipelines.schemas import Expectations


class PingReport(RequestBody):
    """What a run did, and its true times where the ping comes later than what it reports.

    ``watermark`` is how far the run gets: the pipeline's watermark once the run succeeds. ``nothing_to_do`` at the end
    and ``backfill`` at the start are as in the API.
    """

    start_date: UtcDatetime | None = None
    end_date: UtcDatetime | None = None
    parent_id: Id | None = None
    inserts: Count | None = None
    updates: Count | None = None
    soft_deletes: Count | None = None
    total_rows: Count | None = None
    watermark: Watermark | None = None
    nothing_to_do: bool = False
    backfill: bool = False
    execution_metadata: Metadata | None = None
    output: Annotated[str, StringConstraints(max_length=100_000)] | None = None


class PingUrlPost(Expectations):
    """The pipeline whose ping URL is wanted; it is made when there is none of that name."""

    name: ObjectName


class PingUrl(ResponseBody):
    """The ping URL of a pipeline."""

    pipeline_id: int
    ping_url: str


class PingKeyPost(RequestBody):
    """Whose key it is, to recognise it in the list."""

    name: KnownName


class PingKeyMade(ResponseBody):
    """A key, which is shown this once."""

    id: int
    name: str
    key: str


class PingKeyListed(ResponseBody):
    """What may be shown of a key."""

    id: int
    name: str
    created_at: datetime
