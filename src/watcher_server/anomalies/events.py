"""Anomaly events for their page: which there are, the runs of each, and what the events of some days have in common."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby
from typing import NamedTuple

from sqlalchemy import ColumnElement, Date, cast, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from watcher_server.anomalies.models import AnomalyDetectionRule, AnomalyEvent
from watcher_server.kit.listing import contains
from watcher_server.pipelines.models import Pipeline


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events: those whose latest run ended in the span (UTC, without its end), and what else must hold.

    ``accepted`` None is both; ``pipeline`` is a part of a name.
    """

    since: datetime
    until: datetime
    accepted: bool | None = None
    metric: str | None = None
    direction: str | None = None
    pipeline: str | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        event = AnomalyEvent
        holding = [event.last_at >= self.since, event.last_at < self.until]
        if self.accepted is not None:
            accepted = event.accepted_at.is_not(None)
            holding.append(accepted if self.accepted else ~accepted)
        if self.metric is not None:
            holding.append(event.metric_field == self.metric)
        if self.direction is not None:
            holding.append(event.direction == self.direction)
        if self.pipeline is not None:
            # Nested, so that PostgreSQL looks up the events of a few pipelines by their index.
            named = select(Pipeline.id).where(Pipeline.name.like(contains(self.pipeline)))
            holding.append(event.pipeline_id.in_(named))
        holding.append(_not_archived(event.pipeline_id))
        return holding


def _not_archived(pipeline_id: InstrumentedAttribute[int]) -> ColumnElement[bool]:
    return pipeline_id.not_in(select(Pipeline.id).where(Pipeline.archived_at.is_not(None)))


class FoundEvent(NamedTuple):
    """An event with the name of its pipeline, and how many runs its rule needs for a verdict."""

    event: AnomalyEvent
    pipeline_name: str
    minimum_executions: int


async def find_events(session: AsyncSession, wanted: EventFilter, *, limit: int, offset: int) -> list[FoundEvent]:
    """A part of the events, the latest first.

    By ix_anomaly_event_last_at backwards; of a few pipelines by ix_anomaly_event_pipeline_id_last_at.
    """
    event, rule = AnomalyEvent, AnomalyDetectionRule
    statement = (
        select(event, Pipeline.shown_name, rule.minimum_executions)
        .join(Pipeline, Pipeline.id == event.pipeline_id)
        .join(rule, rule.id == event.rule_id)
        .where(*wanted.conditions())
        .order_by(event.last_at.desc(), event.id.desc())
        .limit(limit)
        .offset(offset)
    )
    return [FoundEvent(*row) for row in await session.execute(statement)]


class FlaggedRun(NamedTuple):
    """One run of an event; value and bounds in the metric's own unit."""

    event_id: int
    execution_id: int
    started_at: datetime
    value: float
    lower: float
    upper: float
    z_score: float
    baseline_runs: int


# Results by ix_anomaly_detection_result_event_id, runs by their primary key.
_FLAGGED_RUNS = """
SELECT wanted.id, flagged.*
FROM unnest(CAST(:event_ids AS bigint[])) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT run.id AS execution_id, run.start_date, result.violation_value, result.lower_bound, result.upper_bound,
        result.z_score, result.execution_count
    FROM anomaly_detection_result AS result JOIN pipeline_execution AS run ON run.id = result.pipeline_execution_id
    WHERE result.event_id = wanted.id
    ORDER BY run.end_date DESC, run.id DESC LIMIT :most
) AS flagged
ORDER BY wanted.id
"""


async def read_flagged_runs(session: AsyncSession, event_ids: Sequence[int], most: int) -> dict[int, list[FlaggedRun]]:
    """The latest runs of each event that are still kept, newest first, by the id of the event."""
    rows = await session.execute(text(_FLAGGED_RUNS), {"event_ids": event_ids, "most": most})
    runs = (FlaggedRun(*row) for row in rows)
    return {event_id: list(group) for event_id, group in groupby(runs, key=lambda run: run.event_id)}


class RunAround(NamedTuple):
    """A run near an event: its value, whether it was flagged, is part of the event, or started after its latest run."""

    event_id: int
    value: float
    flagged: bool
    within: bool
    follows: bool


# Two short walks of ix_pipeline_execution_pipeline_id_start_date for each event, back and on from its latest run. Where
# retention has deleted that run, from about when it was.
_RUNS_AROUND = """
SELECT event.id, around.value, coalesce(around.flags ->> event.metric_field = 'true', false),
    around.end_date BETWEEN event.started_at AND event.last_at,
    (around.start_date, around.id) > (event.start_date, event.last_execution_id)
FROM (
    SELECT event.*, coalesce(latest.start_date, event.last_at) AS start_date,
        array_position(
            ARRAY['duration_seconds', 'inserts', 'updates', 'soft_deletes', 'total_rows', 'throughput'],
            event.metric_field::text
        ) AS metric_place
    FROM anomaly_event AS event LEFT JOIN pipeline_execution AS latest ON latest.id = event.last_execution_id
    WHERE event.id = ANY(CAST(:event_ids AS bigint[]))
) AS event
CROSS JOIN LATERAL (
    (
        SELECT run.id, run.start_date, run.end_date, run.anomaly_flags AS flags, measured.value
        FROM pipeline_execution AS run
        CROSS JOIN LATERAL (SELECT (ARRAY[
            run.duration_seconds, run.inserts, run.updates, run.soft_deletes, run.total_rows, run.throughput::float8
        ])[event.metric_place]) AS measured (value)
        WHERE run.pipeline_id = event.pipeline_id AND run.completed_successfully AND measured.value IS NOT NULL
            AND (run.start_date, run.id) <= (event.start_date, event.last_execution_id)
        ORDER BY run.start_date DESC, run.id DESC LIMIT :before
    )
    UNION ALL
    (
        SELECT run.id, run.start_date, run.end_date, run.anomaly_flags, measured.value
        FROM pipeline_execution AS run
        CROSS JOIN LATERAL (SELECT (ARRAY[
            run.duration_seconds, run.inserts, run.updates, run.soft_deletes, run.total_rows, run.throughput::float8
        ])[event.metric_place]) AS measured (value)
        WHERE run.pipeline_id = event.pipeline_id AND run.completed_successfully AND measured.value IS NOT NULL
            AND (run.start_date, run.id) > (event.start_date, event.last_execution_id)
        ORDER BY run.start_date, run.id LIMIT :following
    )
) AS around
ORDER BY event.id, around.start_date, around.id
"""


async def read_runs_around(
    session: AsyncSession, event_ids: Sequence[int], *, before: int, following: int
) -> dict[int, list[RunAround]]:
    """The successful runs around the latest run of each event, oldest first, by the id of the event."""
    parameters = {"event_ids": event_ids, "before": before, "following": following}
    runs = (RunAround(*row) for row in await session.execute(text(_RUNS_AROUND), parameters))
    return {event_id: list(group) for event_id, group in groupby(runs, key=lambda run: run.event_id)}


async def count_events(session: AsyncSession, wanted: EventFilter, *, most: int) -> int:
    """How many events there are; counting ends after ``most``."""
    some = select(1).where(*wanted.conditions()).limit(most).subquery()
    return await session.scalar(select(func.count()).select_from(some)) or 0


async def count_events_by_day(session: AsyncSession, wanted: EventFilter) -> dict[date, int]:
    """How many events had their latest run on each day (UTC, which every session uses).

    By ix_anomaly_event_last_at, or the whole table where that is most of it.
    """
    day = cast(AnomalyEvent.last_at, Date)
    statement = select(day, func.count()).where(*wanted.conditions()).group_by(day)
    return {row[0]: row[1] for row in await session.execute(statement)}


class RankedPipeline(NamedTuple):
    """A pipeline and how many events it has."""

    id: int
    name: str
    events: int


async def rank_pipelines(session: AsyncSession, wanted: EventFilter, limit: int) -> list[RankedPipeline]:
    """The pipelines with most events."""
    event = AnomalyEvent
    counted = (
        select(event.pipeline_id, func.count().label("events"))
        .where(*wanted.conditions())
        .group_by(event.pipeline_id)
        .order_by(func.count().desc(), event.pipeline_id)
        .limit(limit)
        .subquery()
    )
    statement = (
        select(Pipeline.id, Pipeline.shown_name, counted.c.events)
        .join(counted, counted.c.pipeline_id == Pipeline.id)
        .order_by(counted.c.events.desc(), Pipeline.name)
    )
    return [RankedPipeline(*row) for row in await session.execute(statement)]


class LearningRule(NamedTuple):
    """A rule that has too few runs for a verdict, and how many it needs."""

    pipeline_id: int
    metric_field: str
    minimum_executions: int
    name: str


class Rules(NamedTuple):
    """How many rules judge, how many of them have too few runs for a verdict yet, and some of these."""

    active: int
    learning: int
    shown: Sequence[LearningRule]


async def read_rules(session: AsyncSession) -> Rules:
    """One pass over the rules; the newest three that learn."""
    rule = AnomalyDetectionRule
    numbers = select(func.count(), func.count().filter(rule.learning)).where(
        rule.active, _not_archived(rule.pipeline_id)
    )
    active, learning = (await session.execute(numbers)).one()
    shown = (
        select(rule.pipeline_id, rule.metric_field, rule.minimum_executions, Pipeline.shown_name)
        .join(Pipeline, Pipeline.id == rule.pipeline_id)
        .where(rule.active, rule.learning, Pipeline.archived_at.is_(None))
        .order_by(rule.id.desc())
        .limit(3)
    )
    return Rules(active, learning, [LearningRule(*row) for row in await session.execute(shown)] if learning else [])
