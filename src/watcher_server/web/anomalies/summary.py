"""What the events of some days have in common: when they were, and whose they are; and which rules cannot judge yet."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import Date, Row, cast, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.anomalies.models import AnomalyDetectionRule, AnomalyEvent
from watcher_server.pipelines.models import Pipeline
from watcher_server.web.anomalies.events import conditions
from watcher_server.web.anomalies.query import AnomaliesView

# Counting so many takes no longer than somebody may wait for a page; more than these come after it.
_COUNTED_AT_ONCE = 5_000
_PIPELINES_SHOWN = 5
_LEARNING_SHOWN = 3
# What the tallest bar is high, and each is wide, in the units of the drawing.
BAR_HEIGHT, BAR_WIDTH = 100, 12


# Rule, pipeline, metric, how many runs it needs, name of the pipeline.
LearningRule = Row[int, int, str, int, str]


@dataclass(frozen=True, slots=True)
class Day:
    """How many events had their latest run on a day (UTC), and how high that is drawn."""

    day: date
    events: int
    height: float


@dataclass(frozen=True, slots=True)
class Rules:
    """How many rules judge, and how many of them have too few runs for a verdict yet; some of these."""

    active: int
    learning: int
    shown: Sequence[LearningRule]


@dataclass(frozen=True, slots=True)
class Summary:
    """The days of a view, the earliest first, and the pipelines with most events in them."""

    days: Sequence[Day]
    pipelines: Sequence[Row[int, str, int]]
    rules: Rules

    @property
    def most(self) -> int:
        """How many events the worst day had."""
        return max(day.events for day in self.days)

    def events(self, day: date | None) -> int:
        """How many events there are, on that day or on all."""
        return sum(shown.events for shown in self.days if day in {None, shown.day})


async def is_quick(session: AsyncSession, view: AnomaliesView) -> bool:
    """Whether there are few enough events in these days to count them while somebody waits."""
    since, until = _whole(view).span()
    some = select(1).where(AnomalyEvent.last_at >= since, AnomalyEvent.last_at < until).limit(_COUNTED_AT_ONCE + 1)
    found = await session.scalar(select(func.count()).select_from(some.subquery()))
    return (found or 0) <= _COUNTED_AT_ONCE


async def read_summary(session: AsyncSession, view: AnomaliesView) -> Summary:
    """The whole span of days, also when the list shows one of them only."""
    whole = _whole(view)
    counts = await _count_by_day(session, whole)
    most = max(counts.values(), default=0)
    return Summary(
        days=[
            Day(day, counts.get(day, 0), round(BAR_HEIGHT * counts.get(day, 0) / max(1, most), 1))
            for day in whole.period()
        ],
        pipelines=await _rank_pipelines(session, whole),
        rules=await read_rules(session),
    )


def _whole(view: AnomaliesView) -> AnomaliesView:
    return view.model_copy(update={"day": None})


async def _count_by_day(session: AsyncSession, view: AnomaliesView) -> dict[date, int]:
    """By ix_anomaly_event_last_at, or the whole table where that is most of it. Every session thinks in UTC."""
    day = cast(AnomalyEvent.last_at, Date)
    statement = select(day, func.count()).where(*conditions(view)).group_by(day)
    return {row[0]: row[1] for row in await session.execute(statement)}


async def _rank_pipelines(session: AsyncSession, view: AnomaliesView) -> Sequence[Row[int, str, int]]:
    event = AnomalyEvent
    counted = (
        select(event.pipeline_id, func.count().label("events"))
        .where(*conditions(view))
        .group_by(event.pipeline_id)
        .order_by(func.count().desc(), event.pipeline_id)
        .limit(_PIPELINES_SHOWN)
        .subquery()
    )
    statement = (
        select(Pipeline.id, Pipeline.name, counted.c.events)
        .join(counted, counted.c.pipeline_id == Pipeline.id)
        .order_by(counted.c.events.desc(), Pipeline.name)
    )
    return (await session.execute(statement)).all()


async def read_rules(session: AsyncSession) -> Rules:
    """One pass over the rules, and the first that learn."""
    rule = AnomalyDetectionRule
    numbers = select(func.count(), func.count().filter(rule.learning)).where(rule.active)
    active, learning = (await session.execute(numbers)).one()
    shown = (
        select(rule.id, rule.pipeline_id, rule.metric_field, rule.minimum_executions, Pipeline.name)
        .join(Pipeline, Pipeline.id == rule.pipeline_id)
        .where(rule.active, rule.learning)
        .order_by(rule.id.desc())
        .limit(_LEARNING_SHOWN)
    )
    return Rules(active, learning, (await session.execute(shown)).all() if learning else [])
