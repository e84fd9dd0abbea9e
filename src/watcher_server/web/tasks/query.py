"""The state of the tasks page, as its URL has it."""

from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from watcher_server.kit.fields import INT_MAX, Id, UtcDatetime
from watcher_server.tasking.history.schemas import State, TaskName, TaskQuery
from watcher_server.web.paging import PAGE_SIZE, FormQuery

# The list begins with the newest task. Filters lead to older ones.
LAST_PAGE = 1_000

PipelineText = Annotated[str, StringConstraints(strip_whitespace=True, max_length=150, pattern=r"^[^\x00]*$")]


class Hours(IntEnum):
    """A number of last hours, as the pages offer it."""

    HOUR = 1
    DAY = 24
    WEEK = 168

    @property
    def text(self) -> str:
        """The text in a page."""
        return {Hours.HOUR: "hour", Hours.DAY: "24 hours", Hours.WEEK: "7 days"}[self]


class TasksView(FormQuery):
    """What the page shows: which tasks, which page of them, and the queue depths of how many hours.

    ``pipeline`` is a name or an id; ``within`` are hours since creation. ``retried`` is how many tasks the form that
    led here put back.
    """

    messages = frozenset({"retried"})

    state: State | None = None
    name: TaskName | None = None
    pipeline: PipelineText | None = None
    pipeline_id: Id | None = None
    pipeline_execution_id: Id | None = None
    within: Hours | None = None
    since: UtcDatetime | None = None
    until: UtcDatetime | None = None
    page: Annotated[int, Field(ge=1, le=LAST_PAGE)] = 1
    hours: Hours = Hours.DAY
    retried: Annotated[int, Field(ge=0, le=INT_MAX)] | None = None

    @property
    def is_filtered(self) -> bool:
        """Whether some tasks are left out."""
        return any((self.state, self.name, self.pipeline, self.within, self.since, self.until)) or any(
            wanted is not None for wanted in (self.pipeline_id, self.pipeline_execution_id)
        )

    def task_query(self, pipeline_id: int | None) -> TaskQuery:
        """Which tasks the list holds, those of the pipeline where there is one."""
        since = datetime.now(UTC) - timedelta(hours=self.within) if self.within else None
        return TaskQuery(
            state=self.state,
            name=self.name,
            pipeline_id=pipeline_id,
            pipeline_execution_id=self.pipeline_execution_id,
            since=max(filter(None, (since, self.since)), default=None),
            until=self.until,
            limit=PAGE_SIZE,
            offset=(self.page - 1) * PAGE_SIZE,
        )
