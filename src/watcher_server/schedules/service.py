"""Which runs were expected and never started."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.alerts.naming import Named, name_in_alert
from watcher_server.alerts.service import Level, NewAlert, raise_alert
from watcher_server.queueing.configuration import SCHEDULED_QUEUE
from watcher_server.queueing.outbox import enqueue_async
from watcher_server.schedules.decisions import Decision, Due, decide, expected_runs
from watcher_server.schedules.windows import Window

logger = logging.getLogger(__name__)

# What one check looks at; a table that holds more is done over several.
_PIPELINES_PER_CHECK = 50_000
_RUNS_PER_CHECK = 100_000
_RUNS_PER_PIPELINE = 1_000
# What one statement writes: few enough that its arrays stay small.
_PIPELINES_PER_STATEMENT = 5_000

# Served by ix_pipeline_expected_next_run, which holds nothing of pipelines without a schedule. Those whose grace is
# over come first: should there be too many for one check, those that only wait are put off.
_FIND_DUE = """
SELECT pipeline.id, pipeline.name, schedule, schedule_timezone AS zone, schedule_grace_minutes AS grace_minutes,
    expected_next_run AS expected_at,
    pipeline.mute_timeliness_check OR pipeline_type.mute_timeliness_check AS muted
FROM pipeline JOIN pipeline_type ON pipeline_type.id = pipeline.pipeline_type_id
WHERE expected_next_run <= CAST(:now AS timestamptz) AND active
ORDER BY expected_next_run + make_interval(mins => schedule_grace_minutes), pipeline.id LIMIT :at_once
"""

# For each window one seek in ix_pipeline_execution_pipeline_id_start_date.
_FIND_SEEN = """
SELECT pipeline_id, expected_at
FROM unnest(
    CAST(:pipeline_ids AS bigint[]), CAST(:expected_at AS timestamptz[]),
    CAST(:opens AS timestamptz[]), CAST(:closes AS timestamptz[])
) AS due (pipeline_id, expected_at, opens, closes)
WHERE EXISTS (
    SELECT FROM pipeline_execution AS execution
    WHERE execution.pipeline_id = due.pipeline_id AND execution.start_date BETWEEN due.opens AND due.closes
)
"""

# A pipeline that another check has at hand is left to it, and one that was changed meanwhile, or moved on by another
# check, is left as it is. By primary key; missed runs once by the log's unique key.
_MOVE_ON = """
WITH decided AS (
    SELECT * FROM unnest(
        CAST(:ids AS bigint[]), CAST(:schedules AS text[]), CAST(:zones AS text[]), CAST(:graces AS integer[]),
        CAST(:expected_at AS timestamptz[]), CAST(:next_runs AS timestamptz[]), CAST(:last_missed AS timestamptz[])
    ) AS decided (id, schedule, zone, grace, expected_at, next_run, last_missed)
), held AS (
    SELECT decided.*
    FROM decided JOIN pipeline ON pipeline.id = decided.id
    WHERE pipeline.active AND pipeline.expected_next_run = decided.expected_at
        AND pipeline.schedule = decided.schedule AND pipeline.schedule_timezone = decided.zone
        AND pipeline.schedule_grace_minutes = decided.grace
    ORDER BY pipeline.id
    FOR NO KEY UPDATE OF pipeline SKIP LOCKED
), moved AS (
    UPDATE pipeline SET
        expected_next_run = held.next_run, last_missed_run = coalesce(held.last_missed, pipeline.last_missed_run)
    FROM held WHERE pipeline.id = held.id
    RETURNING held.id, held.schedule, held.zone, held.grace
)
INSERT INTO missed_run_log (pipeline_id, expected_at, schedule, schedule_timezone, schedule_grace_minutes)
SELECT moved.id, missed.expected_at, moved.schedule, moved.zone, moved.grace
FROM unnest(CAST(:missed_ids AS bigint[]), CAST(:missed_at AS timestamptz[])) AS missed (pipeline_id, expected_at)
JOIN moved ON moved.id = missed.pipeline_id
ORDER BY moved.id, missed.expected_at
ON CONFLICT (pipeline_id, expected_at) DO NOTHING
RETURNING id, pipeline_id, expected_at
"""


@dataclass(frozen=True)
class Found:
    """How many missed runs a check logged, how many of those it alerted, how many expected ones it did not look at."""

    logged: int
    alerted: int
    left_out: int


async def queue_schedule_check(session: AsyncSession) -> None:
    """Have the check run once this transaction has committed."""
    await enqueue_async(session, "schedule_check_task", SCHEDULED_QUEUE)


def check_schedules(connection: Connection, now: datetime, *, alert_max_age_hours: int) -> Found:
    """Log every run that was expected and has not started by the end of its grace, and raise one alert for them.

    ``now`` is the moment (UTC) that the check is made for. Inactive pipelines expect nothing; muted ones (timeliness,
    their own or their type's) only move on. After a long outage the latest runs of each pipeline are looked at, 1,000
    at most, and the others counted. What was missed more than ``alert_max_age_hours`` ago is logged, not alerted.
    """
    due = [Due(**row._mapping) for row in _find_due(connection, now)]  # noqa: SLF001 - the public name of a row's fields
    if not due:
        return Found(logged=0, alerted=0, left_out=0)
    decisions = list(_decide_all(connection, due, now))
    logged = [row for batch in _batches(decisions) for row in _move_on(connection, batch)]
    recent = [row for row in logged if now - row.expected_at <= timedelta(hours=alert_max_age_hours)]
    if recent:
        _tell(connection, decisions, recent)
    left_out = sum(decision.left_out for decision in decisions)
    if left_out:
        logger.warning("%d expected runs lie so far back that the schedule check did not look at them.", left_out)
    return Found(logged=len(logged), alerted=len(recent), left_out=left_out)


def _find_due(connection: Connection, now: datetime) -> Sequence[Row[Any]]:
    return connection.execute(text(_FIND_DUE), {"now": now, "at_once": _PIPELINES_PER_CHECK}).all()


def _decide_all(connection: Connection, due: Sequence[Due], now: datetime) -> Iterator[Decision]:
    """What becomes of each pipeline that does not just wait on."""
    limit = min(_RUNS_PER_PIPELINE, max(1, _RUNS_PER_CHECK // len(due)))
    expected = [runs for each in due if (runs := expected_runs(each, now, limit)) is not None]
    seen = _find_seen(connection, [(runs.due.id, window) for runs in expected for window in runs.windows])
    for runs in expected:
        decision = decide(runs, now, seen)
        if decision.next_run != runs.due.expected_at:
            yield decision


def _find_seen(connection: Connection, windows: Sequence[tuple[int, Window]]) -> set[tuple[int, datetime]]:
    parameters = {
        "pipeline_ids": [pipeline_id for pipeline_id, _ in windows],
        "expected_at": [window.expected_at for _, window in windows],
        "opens": [window.opens for _, window in windows],
        "closes": [window.closes for _, window in windows],
    }
    rows = connection.execute(text(_FIND_SEEN), parameters)
    return {(row.pipeline_id, row.expected_at) for row in rows}


def _batches(decisions: Sequence[Decision]) -> Iterator[Sequence[Decision]]:
    # In one order, so that two checks at once never wait for each other in a circle.
    ordered = sorted(decisions, key=lambda decision: decision.due.id)
    for start in range(0, len(ordered), _PIPELINES_PER_STATEMENT):
        yield ordered[start : start + _PIPELINES_PER_STATEMENT]


def _move_on(connection: Connection, decisions: Sequence[Decision]) -> Sequence[Row[Any]]:
    due = [decision.due for decision in decisions]
    missed = [(decision.due.id, run) for decision in decisions for run in decision.missed]
    parameters = {
        "ids": [each.id for each in due],
        "schedules": [each.schedule for each in due],
        "zones": [each.zone for each in due],
        "graces": [each.grace_minutes for each in due],
        "expected_at": [each.expected_at for each in due],
        "next_runs": [decision.next_run for decision in decisions],
        "last_missed": [decision.missed[-1] if decision.missed else None for decision in decisions],
        "missed_ids": [pipeline_id for pipeline_id, _ in missed],
        "missed_at": [run for _, run in missed],
    }
    return connection.execute(text(_MOVE_ON), parameters).all()


def _tell(connection: Connection, decisions: Sequence[Decision], missed: Sequence[Row[Any]]) -> None:
    by_id = {decision.due.id: decision for decision in decisions}
    ordered = sorted(missed, key=attrgetter("pipeline_id", "expected_at"))
    named = [
        Named(
            pipeline_id, by_id[pipeline_id].due.name, _describe(by_id[pipeline_id], [row.expected_at for row in rows])
        )
        for pipeline_id, rows in groupby(ordered, attrgetter("pipeline_id"))
    ]
    raise_alert(
        connection,
        NewAlert(
            dedupe_key=f"missed runs:{max(row.id for row in missed)}",
            level=Level.WARNING,
            title="Schedule Check - Missed Runs",
            message=f"{len(missed)} run(s) missed",
            details=name_in_alert(connection, named, len(named)),
        ),
    )


def _describe(decision: Decision, runs: Sequence[datetime]) -> str:
    latest = runs[-1].astimezone(UTC)
    deadline = latest + timedelta(minutes=decision.due.grace_minutes)
    by = f"{deadline:%H:%M}" if deadline.date() == latest.date() else f"{deadline:%Y-%m-%d %H:%M}"
    several = "" if len(runs) == 1 else f"{len(runs)} runs missed, the latest "
    left_out = f"; {decision.left_out:,} earlier ones were not looked at" if decision.left_out else ""
    return (
        f"{several}expected {latest:%Y-%m-%d %H:%M} UTC ({decision.due.schedule}, {decision.due.zone}),"
        f" not started by {by} UTC{left_out}"
    )
