"""What the anomalies page shows: each event with its runs, and a summary of the days."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.anomalies import events
from watcher_server.anomalies.events import FlaggedRun, RankedPipeline, Rules
from watcher_server.anomalies.models import AnomalyEvent
from watcher_server.web.anomalies.drawing import Spark, draw_spark
from watcher_server.web.anomalies.query import AnomaliesView, EventState
from watcher_server.web.paging import PAGE_SIZE

RUNS_DRAWN = 30
# With more events than this in the days, the summary is loaded after the page.
_COUNTED_AT_ONCE = 5_000
# The height of the tallest bar and the width of each, in the units of the drawing.
BAR_HEIGHT, BAR_WIDTH = 100, 12


@dataclass(frozen=True, slots=True)
class ShownEvent:
    """An event as the list shows it; ``runs`` are its latest ones, newest first, as far as they are kept.

    ``goes_on``: no successful run with this metric has followed it yet.
    """

    event: AnomalyEvent
    pipeline_name: str
    minimum_executions: int
    runs: Sequence[FlaggedRun]
    spark: Spark | None
    goes_on: bool

    @property
    def latest(self) -> FlaggedRun | None:
        return self.runs[0] if self.runs else None

    @property
    def state(self) -> str:
        """In one word: accepted, going on, over."""
        if self.event.accepted_at is not None:
            return "accepted"
        return "going on" if self.goes_on else "over"


async def read_events(session: AsyncSession, view: AnomaliesView) -> tuple[list[ShownEvent], bool]:
    """One page of events with what is known of each, and whether others follow."""
    found = await events.find_events(session, view.filter(), limit=PAGE_SIZE + 1, offset=(view.page - 1) * PAGE_SIZE)
    ids = [each.event.id for each in found[:PAGE_SIZE]]
    runs = await events.read_flagged_runs(session, ids, 20)
    # Of the runs drawn, this number may have followed the event, to show whether the values are as usual again.
    around = await events.read_runs_around(session, ids, before=RUNS_DRAWN, following=8)
    shown = []
    for each in found[:PAGE_SIZE]:
        flagged, near = runs.get(each.event.id, []), around.get(each.event.id, [])
        expected = (flagged[0].lower, flagged[0].upper) if flagged else None
        goes_on = not any(run.follows for run in near)
        shown.append(ShownEvent(*each, flagged, draw_spark(near[-RUNS_DRAWN:], expected), goes_on))
    return shown, len(found) > PAGE_SIZE


class Day(NamedTuple):
    """How many events had their latest run on a day (UTC), and the height of its bar."""

    day: date
    events: int
    height: float


@dataclass(frozen=True, slots=True)
class Summary:
    """The days of a view, the earliest first, and the pipelines with most events in them."""

    days: Sequence[Day]
    pipelines: Sequence[RankedPipeline]
    rules: Rules

    @property
    def most(self) -> int:
        """How many events the worst day had."""
        return max(day.events for day in self.days)

    def events(self, day: date | None) -> int:
        """How many events there are, on that day or on all."""
        return sum(shown.events for shown in self.days if day in {None, shown.day})


async def is_quick(session: AsyncSession, view: AnomaliesView) -> bool:
    """Whether there are few enough events in these days to count them before the page is sent."""
    days = AnomaliesView(state=EventState.ALL, days=view.days).filter()
    return await events.count_events(session, days, most=_COUNTED_AT_ONCE + 1) <= _COUNTED_AT_ONCE


async def read_summary(session: AsyncSession, view: AnomaliesView) -> Summary:
    """The whole span of days, also when the list shows one of them only."""
    whole = view.model_copy(update={"day": None})
    counts = await events.count_events_by_day(session, whole.filter())
    most = max(counts.values(), default=1)
    numbers = [(day, counts.get(day, 0)) for day in whole.period()]
    return Summary(
        days=[Day(day, number, round(BAR_HEIGHT * number / most, 1)) for day, number in numbers],
        pipelines=await events.rank_pipelines(session, whole.filter(), limit=5),
        rules=await events.read_rules(session),
    )
