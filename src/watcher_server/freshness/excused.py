"""Pipelines that are stale only because a window took runs away."""

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, text

from watcher_server.alerts.routing.calendars import Span
from watcher_server.alerts.routing.quiet import Skips
from watcher_server.incidents.kinds import Kind
from watcher_server.schedules.cron import Schedule

# Those that the check would find; one pass over the pipelines, as there.
_CANDIDATES = """
SELECT id, stale_at, stale_warning_at, counted_from, schedule, schedule_timezone
FROM pipeline_effective
WHERE active AND NOT freshness_muted AND least(stale_at, stale_warning_at) < now()
"""
_HAS_SKIPS = "SELECT EXISTS (SELECT FROM alerting_object WHERE kind = 'window' AND spec ->> 'mode' = 'skip')"


class Excused(NamedTuple):
    """The pipelines that are not stale yet, and those that need no warning yet."""

    of_failures: list[int]
    of_warnings: list[int]


def find_excused(connection: Connection) -> Excused:
    """The pipelines that a window gives more time.

    A run that a window skips counts as one that wrote; for a pipeline without a schedule the time in the window does
    not count. Inside of the window nothing is judged.
    """
    if not connection.scalar(text(_HAS_SKIPS)):
        return Excused([], [])
    rows = connection.execute(text(_CANDIDATES)).all()
    skips = Skips(connection, [row.id for row in rows], kind=Kind.STALE)
    now = datetime.now(UTC)
    longer = {row.id: _more_time(row, skips, now) for row in rows}
    given = [row for row in rows if longer[row.id]]
    return Excused(
        [row.id for row in given if row.stale_at and row.stale_at + longer[row.id] >= now],
        [row.id for row in given if row.stale_warning_at and row.stale_warning_at + longer[row.id] >= now],
    )


def _more_time(row: Row[Any], skips: Skips, now: datetime) -> timedelta:
    if skips.has(row.id, now):
        all_of_it: timedelta = now - row.counted_from
        return all_of_it
    spans = skips.between(row.id, row.counted_from, now)
    if row.schedule:
        return _skipped_by_run(row, spans)
    # How much of the time since the last write lies in the windows.
    inside = (min(span.ends or now, now) - max(span.begins, row.counted_from) for span in spans)
    return sum((length for length in inside if length > timedelta()), timedelta())


def _skipped_by_run(row: Row[Any], spans: list[Span]) -> timedelta:
    """How much later the last run that was skipped would have written."""
    schedule = Schedule(row.schedule, row.schedule_timezone)
    for span in reversed(spans):
        last = schedule.last_before(span.ends) if span.ends else None
        if last is not None and last >= max(span.begins, row.counted_from):
            skipped: timedelta = last - row.counted_from
            return skipped
    return timedelta()
