"""Which runs were expected and did not start."""

import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, Row, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.alerts.levels import Level
from watcher_server.alerts.routing.quiet import Skips
from watcher_server.alerts.service import NewAlert, Subject, minute_text, raise_alert
from watcher_server.incidents.kinds import Kind
from watcher_server.incidents.opening import Finding, lock_incidents, open_incidents
from watcher_server.incidents.telling import Line, name_lines, speaking, tell
from watcher_server.missed_runs.decisions import Decision, Due, Going, Moment, decide, expected_runs, not_started
from watcher_server.missed_runs.models import MissedRunLog
from watcher_server.schedules.windows import Window

logger = logging.getLogger(__name__)

# One statement writes this many, so that its arrays stay small.
_PIPELINES_PER_STATEMENT = 5_000

# By primary key. A pipeline whose row another check has locked is left to that check. A pipeline that was changed or
# moved on since it was read is left as it is. The log's unique key makes each missed run new once.
_MOVE_ON = """
WITH decided AS (
    SELECT * FROM unnest(
        CAST(:ids AS bigint[]), CAST(:schedules AS text[]), CAST(:zones AS text[]), CAST(:graces AS integer[]),
        CAST(:expected_at AS timestamptz[]), CAST(:next_runs AS timestamptz[]), CAST(:last_missed AS timestamptz[]),
        CAST(:due_since AS timestamptz[])
    ) AS decided (id, schedule, zone, grace, expected_at, next_run, last_missed, due_since)
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
        expected_next_run = held.next_run, last_missed_run = coalesce(held.last_missed, pipeline.last_missed_run),
        due_since = held.due_since
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


def check_schedules(connection: Connection, now: datetime, *, alert_max_age_hours: int) -> Found:
    """Log every run that was expected and has not started by the end of its grace, and raise one alert for them.

    ``now`` is the moment (UTC) that the check is made for. Inactive pipelines expect nothing; muted ones (timeliness,
    their own or their type's) only move on, and runs that a window skips are not expected. After a long outage the
    latest runs of each pipeline are looked at, 1,000 at most, and the others counted. What was missed more than
    ``alert_max_age_hours`` ago is logged, not alerted. Where the scheduler starts no run while another one is open, it
    is said once that that one goes on, and nothing is missed.
    """
    # By ix_pipeline_expected_next_run, which has only pipelines with a schedule. A check looks at 50,000 of them. Those
    # whose grace is over come first, so that only pipelines that may still start are left to the next check.
    statement = """
        SELECT id, coalesce(display_name, name) AS name, schedule, schedule_timezone AS zone,
            schedule_grace_minutes AS grace_minutes,
            expected_next_run AS expected_at, current_as_of, due_since, timeliness_muted AS muted,
            (SELECT overlap = 'skip' FROM pipeline WHERE pipeline.id = due.id) AS skips
        FROM pipeline_effective AS due
        WHERE expected_next_run <= CAST(:now AS timestamptz) AND active
        ORDER BY expected_next_run + make_interval(mins => schedule_grace_minutes), id LIMIT 50000
    """
    due = [Due(**row._asdict()) for row in connection.execute(text(statement), {"now": now})]
    if not due:
        return Found(logged=0, alerted=0, left_out=0)
    decisions = list(_decide_all(connection, due, now))
    # Both of two checks at once lock rows in this order, so they cannot deadlock.
    ordered = sorted(decisions, key=lambda decision: decision.due.id)
    logged: list[Row[Any]] = []
    for start in range(0, len(ordered), _PIPELINES_PER_STATEMENT):
        logged += _move_on(connection, ordered[start : start + _PIPELINES_PER_STATEMENT])
    recent = [row for row in logged if now - row.expected_at <= timedelta(hours=alert_max_age_hours)]
    alerted = _tell(connection, decisions, recent) if recent else 0
    _say_what_goes_on(connection, decisions)
    left_out = sum(decision.left_out for decision in decisions)
    if left_out:
        logger.warning("%d expected runs lie so far back that the schedule check did not look at them.", left_out)
    return Found(logged=len(logged), alerted=alerted, left_out=left_out)


def _decide_all(connection: Connection, due: Sequence[Due], now: datetime) -> Iterator[Decision]:
    """What becomes of each pipeline that does not just wait on."""
    # A thousand runs of each pipeline, and 100,000 of all together.
    limit = min(1_000, max(1, 100_000 // len(due)))
    expected = [runs for each in due if (runs := expected_runs(each, now, limit)) is not None]
    windows = [(runs.due.id, window) for runs in expected for window in runs.windows]
    skips = Skips(connection, [runs.due.id for runs in expected], kind=Kind.MISSED)
    seen = _find_seen(connection, windows)
    seen |= {(id_, window.expected_at) for id_, window in windows if skips.has(id_, window.expected_at)}
    skipping = [runs for runs in expected if runs.due.skips and not runs.due.muted]
    overdue = [(runs.due.id, window) for runs in skipping for window in not_started(runs, now, seen)]
    # The run that was open when another was expected, by pipeline and moment, where there was one.
    rows = connection.execute(text(_GOING), _arrays(overdue)) if overdue else ()
    going = {(row.pipeline_id, row.expected_at): Going(row.id, row.start_date, row.is_open) for row in rows}
    for runs in expected:
        decision = decide(runs, now, seen, going)
        if decision.next_run != runs.due.expected_at:
            yield decision


def _arrays(windows: Sequence[tuple[int, Window]]) -> dict[str, Any]:
    return {
        "pipeline_ids": [pipeline_id for pipeline_id, _ in windows],
        "expected_at": [window.expected_at for _, window in windows],
        "opens": [window.opens for _, window in windows],
        "closes": [window.closes for _, window in windows],
    }


def _find_seen(connection: Connection, windows: Sequence[tuple[int, Window]]) -> set[Moment]:
    # For each window one seek in ix_pipeline_execution_pipeline_id_start_date.
    statement = """
        SELECT pipeline_id, expected_at
        FROM unnest(
            CAST(:pipeline_ids AS bigint[]), CAST(:expected_at AS timestamptz[]),
            CAST(:opens AS timestamptz[]), CAST(:closes AS timestamptz[])
        ) AS due (pipeline_id, expected_at, opens, closes)
        WHERE EXISTS (
            SELECT FROM pipeline_execution AS execution
            WHERE execution.pipeline_id = due.pipeline_id AND execution.start_date BETWEEN due.opens AND due.closes
                AND NOT execution.backfill
        )
    """
    rows = connection.execute(text(statement), _arrays(windows))
    return {(row.pipeline_id, row.expected_at) for row in rows}


# The one that is open by ix_pipeline_execution_running. One that has ended since is looked for among the few before the
# window, by ix_pipeline_execution_pipeline_id_start_date.
_GOING = """
SELECT due.pipeline_id, due.expected_at, run.id, run.start_date, run.end_date IS NULL AS is_open
FROM unnest(
    CAST(:pipeline_ids AS bigint[]), CAST(:expected_at AS timestamptz[]), CAST(:opens AS timestamptz[])
) AS due (pipeline_id, expected_at, opens)
CROSS JOIN LATERAL (
    SELECT * FROM (
        (SELECT id, start_date, end_date FROM pipeline_execution AS execution
        WHERE execution.pipeline_id = due.pipeline_id AND execution.start_date < due.opens
            AND end_date IS NULL AND NOT backfill
        ORDER BY execution.start_date DESC LIMIT 1)
        UNION ALL
        (SELECT * FROM (
            SELECT id, start_date, end_date FROM pipeline_execution AS execution
            WHERE execution.pipeline_id = due.pipeline_id AND execution.start_date < due.opens AND NOT backfill
            ORDER BY execution.start_date DESC LIMIT 10
        ) AS latest WHERE end_date > due.expected_at LIMIT 1)
    ) AS found
    ORDER BY end_date NULLS FIRST LIMIT 1
) AS run
"""


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
        "due_since": [decision.due_since for decision in decisions],
        "missed_ids": [pipeline_id for pipeline_id, _ in missed],
        "missed_at": [run for _, run in missed],
    }
    return connection.execute(text(_MOVE_ON), parameters).all()


# By uq_incident_open.
_KNOWN = """
SELECT pipeline_id, since, count AS number FROM incident
WHERE kind = 'missed' AND state <> 'resolved' AND pipeline_id = ANY(CAST(:ids AS bigint[])) AND subject = ''
"""

# A later run has started: what was missed is over already.
_MISSED_STATES = """
SELECT pipeline.id, EXISTS (
    SELECT FROM pipeline_execution AS execution
    WHERE execution.pipeline_id = pipeline.id AND execution.start_date >= pipeline.last_missed_run
        AND NOT execution.backfill
) AS over
FROM pipeline WHERE id = ANY(CAST(:ids AS bigint[]))
"""


def _tell(connection: Connection, decisions: Sequence[Decision], missed: Sequence[Row[Any]]) -> int:
    """Open the incidents of the pipelines that missed runs, and raise one alert for those that speak; their runs."""
    by_id = {decision.due.id: decision for decision in decisions}
    ordered = sorted(missed, key=attrgetter("pipeline_id", "expected_at"))
    runs = {
        pipeline_id: [row.expected_at for row in rows]
        for pipeline_id, rows in groupby(ordered, attrgetter("pipeline_id"))
    }
    is_over = {row.id: row.over for row in connection.execute(text(_MISSED_STATES), {"ids": list(runs)})}
    # What is missed further joins the incident that is open, and its text counts as the incident does.
    lock_incidents(connection)
    known = {row.pipeline_id: row for row in connection.execute(text(_KNOWN), {"ids": list(runs)})}
    findings = [
        Finding(
            expected[0],
            _describe(by_id[pipeline_id], expected, known.get(pipeline_id)),
            pipeline_id=pipeline_id,
            count=len(expected),
            counts_up=True,
            over=is_over.get(pipeline_id, False),
        )
        for pipeline_id, expected in runs.items()
    ]
    openings = open_incidents(connection, Kind.MISSED, findings)
    lines = []
    told = 0
    for opening, (pipeline_id, expected) in speaking(connection, openings, list(runs.items())):
        about = Subject(incident_id=opening.incident_id, pipeline_id=pipeline_id)
        lines.append((opening.level, Line(by_id[pipeline_id].due.name, opening.finding.detail, about)))
        told += len(expected)

    def message(lines: Sequence[Line]) -> str:
        return f"{sum(len(runs[line.about.pipeline_id or 0]) for line in lines)} run(s) missed"

    tell(connection, Kind.MISSED, "opened", message, lines)
    return told


def _describe(decision: Decision, runs: Sequence[datetime], known: Row[Any] | None) -> str:
    latest = runs[-1].astimezone(UTC)
    first = known.since if known else runs[0]
    number = len(runs) + (known.number if known else 0)
    deadline = latest + timedelta(minutes=decision.due.grace_minutes)
    by = f"{deadline:%H:%M} UTC" if deadline.date() == latest.date() else minute_text(deadline)
    several = "" if number == 1 else f"{number:,} runs missed, the first expected {minute_text(first)}, the latest "
    left_out = f"; {decision.left_out:,} earlier ones were not looked at" if decision.left_out else ""
    cron = f"{decision.due.schedule}, {decision.due.zone}"
    return f"{several}expected {minute_text(latest)} ({cron}), not started by {by}{left_out}"


def _say_what_goes_on(connection: Connection, decisions: Sequence[Decision]) -> None:
    """Say of each run that others wait for that it goes on, when the first of those would have been missed."""
    skipped = [(decision.due, decision.skipped) for decision in decisions if decision.skipped is not None]
    if not skipped:
        return
    lines = [
        Line(
            due.name,
            f"execution {each.going.id} has been running since {minute_text(each.going.start_date)}, so the run"
            f" expected {minute_text(each.expected_at)} did not start ({due.schedule}, {due.zone})",
            Subject(pipeline_id=due.id, execution_id=each.going.id),
        )
        for due, each in skipped
    ]
    ids = [each.going.id for _, each in skipped]
    alert = NewAlert(
        dedupe_key=f"goes on:{min(ids)}-{max(ids)}:{len(ids)}",
        level=Level.INFO,
        title="Schedule Check - Run Goes On",
        message=f"{len(lines)} run(s) still going when the next was expected",
        details=name_lines(connection, lines),
        subjects=[line.about for line in lines],
    )
    raise_alert(connection, alert)


async def read_missed_log(
    session: AsyncSession, pipeline_id: int, *, before: datetime, limit: int
) -> Sequence[MissedRunLog]:
    """The missed runs that were found before a moment, the newest first, by the unique key of the log."""
    log = MissedRunLog
    statement = select(log).where(log.pipeline_id == pipeline_id, log.evaluated_at < before)
    newest_first = statement.order_by(log.evaluated_at.desc(), log.expected_at.desc())
    return (await session.scalars(newest_first.limit(limit))).all()


async def read_missed_since(
    session: AsyncSession, pipeline_ids: Collection[int], since: datetime
) -> Sequence[MissedRunLog]:
    """The missed runs of these pipelines that were expected since then, by the unique key of the log."""
    log = MissedRunLog
    statement = select(log).where(log.pipeline_id.in_(pipeline_ids), log.expected_at >= since)
    return (await session.scalars(statement)).all()
