"""Watcher watching itself: no worker, checks that do not run, silence, and channels that do not deliver."""

import logging
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import NamedTuple

from sqlalchemy import Connection, text

from watcher_server.alerts.broken import BrokenChannel, find_broken, send_elsewhere
from watcher_server.alerts.service import Subject
from watcher_server.incidents.kinds import TEXTS, Kind
from watcher_server.incidents.opening import Change, Finding, Opening, lock_incidents, open_incidents
from watcher_server.incidents.resolving import resolve
from watcher_server.incidents.telling import Line, choose_speakers, tell
from watcher_server.kit.durations import duration_text
from watcher_server.settings import Settings
from watcher_server.tasking.history.overdue import measure_overdue_checks
from watcher_server.tasking.history.service import find_last_created
from watcher_server.tasking.wire import ALIVE

logger = logging.getLogger(__name__)

# A check that takes its time, or a worker that is replaced, is no incident.
_OVERDUE_MINUTES = 10
_WITHOUT_WORKER_MINUTES = 2
_SILENT_MINUTES = 15
# A process that has not been heard of for this long was taken down on purpose, so nobody is told.
_KNOWN_DAYS = 7


class Suspicion(NamedTuple):
    """What looks wrong. It opens an incident only where it ``may_open`` one, and else keeps one open.

    Just after Watcher was started everything looks dead, late and silent.
    """

    finding: Finding
    may_open: bool = True


def check_watcher(connection: Connection, settings: Settings) -> None:
    """Open what is wrong with Watcher itself and with its channels, and resolve what is not any more."""
    # Before any row of them is locked, as everywhere: two that lock them in different orders would wait for each other.
    lock_incidents(connection)
    found = (*suspect_itself(connection, settings), *_silence(connection, _minutes_up(connection)))
    _settle(connection, Kind.WATCHER, found)
    broken = find_broken(connection)
    _settle(connection, Kind.CHANNEL, [Suspicion(_broken(channel)) for channel in broken])
    send_elsewhere(connection, broken)


def suspect_itself(connection: Connection, settings: Settings) -> list[Suspicion]:
    """What looks wrong with the workers and with the scheduled checks."""
    up = _minutes_up(connection)
    return [*_no_worker(connection, up), *_overdue(connection, settings, up)]


def _minutes_up(connection: Connection) -> int:
    """For how many full minutes, this one included, Watcher has been up without a break; 15 at most."""
    # The keeper samples the queues each minute, so a minute without a sample is one in which Watcher was down.
    statement = """
        SELECT DISTINCT extract(epoch FROM date_trunc('minute', now()) - sampled_at)::int / 60 FROM queue_depth_sample
        WHERE sampled_at > now() - make_interval(mins => :most)
    """
    sampled = set(connection.scalars(text(statement), {"most": _SILENT_MINUTES}))
    return next(minutes for minutes in count() if minutes not in sampled)


# Or resolved by hand, and quiet since.
_OPEN = "SELECT id, subject FROM incident WHERE kind = :kind AND (state <> 'resolved' OR quiet)"


def _settle(connection: Connection, kind: Kind, found: Iterable[Suspicion]) -> None:
    suspected = {each.finding.subject: each for each in found}
    rows = connection.execute(text(_OPEN), {"kind": kind}).all()
    resolve(connection, [row.id for row in rows if row.subject not in suspected])
    known = {row.subject for row in rows}
    findings = [each.finding for subject, each in suspected.items() if each.may_open or subject in known]
    for opening in choose_speakers(connection, open_incidents(connection, kind, findings)):
        _tell(connection, kind, opening)


def _tell(connection: Connection, kind: Kind, opening: Opening) -> None:
    finding = opening.finding
    line = Line(f"{finding.subject} (#{opening.incident_id})", finding.detail, Subject(incident_id=opening.incident_id))
    message = f"{TEXTS[kind].title}: {finding.detail}"
    if kind is Kind.CHANNEL and opening.change is Change.OPENED:
        # The message about a broken channel waits in that channel.
        logger.error("%s (%s)", message, finding.subject)
    tell(connection, kind, opening.change, lambda _: finding.detail, [(opening.level, line)])


def _no_worker(connection: Connection, up: int) -> Iterator[Suspicion]:
    statement = f"""
        SELECT max(seen_at) AS last_seen, bool_or({ALIVE}) AS lives,
            (SELECT min(due_at) FROM outbox) AS waits_since
        FROM worker
    """  # noqa: S608 - the condition is a constant
    row = connection.execute(text(statement)).one()
    since = row.last_seen or row.waits_since
    if since is None or row.lives or datetime.now(UTC) - since <= timedelta(minutes=_WITHOUT_WORKER_MINUTES):
        return
    detail = "No worker is alive, so nothing is analysed: start one with `watcher worker`"
    yield Suspicion(Finding(since, detail, subject="workers"), up > _WITHOUT_WORKER_MINUTES)


def _overdue(connection: Connection, settings: Settings, up: int) -> Iterator[Suspicion]:
    started = connection.scalar(text(f"SELECT min(started_at) FROM worker WHERE {ALIVE}"))  # noqa: S608 - a constant
    patience = timedelta(minutes=_OVERDUE_MINUTES)
    overdue = {
        task: seconds
        for task, seconds in measure_overdue_checks(connection, settings, started).items()
        if seconds > patience.total_seconds()
    }
    if not overdue:
        return
    # Workers that have just started are given time to catch up; without any, that is the incident.
    may_open = started is not None and datetime.now(UTC) - started > patience and up > _OVERDUE_MINUTES
    longest = max(overdue.values())
    late = f"{', '.join(sorted(overdue))} overdue for up to {duration_text(longest)}"
    detail = f"Scheduled checks do not run: {late}; is `watcher beat` alive?"
    yield Suspicion(Finding(datetime.now(UTC) - timedelta(seconds=longest), detail, subject="checks"), may_open)


# Who reports a run that begins is heard, and so is who reports an end: a task follows it, or it is a success without a
# rule to judge it. A start in the future was reported by mistake. By ix_pipeline_execution_start_date and
# ix_pipeline_execution_ended.
_LAST_START = """
SELECT start_date FROM pipeline_execution WHERE start_date <= now() + interval '1 minute'
ORDER BY start_date DESC LIMIT 1
"""
_LAST_SUCCESS = """
SELECT end_date FROM pipeline_execution WHERE completed_successfully ORDER BY end_date DESC LIMIT 1
"""
_TASKS_OF_ENDS = ("detect_anomalies_task", "judge_failure_task")


def _last_heard(connection: Connection) -> datetime | None:
    reported = (connection.scalar(text(moment)) for moment in (_LAST_START, _LAST_SUCCESS))
    ended = find_last_created(connection, _TASKS_OF_ENDS).values()
    return max(filter(None, (*reported, *ended)), default=None)


# It lasts until somebody is heard.
_SILENT_SINCE = """
SELECT max(greatest(opened_at, since)) FROM incident
WHERE kind = 'watcher' AND subject = 'silence' AND (state <> 'resolved' OR quiet)
"""


def _silence(connection: Connection, up: int) -> Iterator[Suspicion]:
    heard, now = _last_heard(connection), datetime.now(UTC)
    silent_since = connection.scalar(text(_SILENT_SINCE))
    if silent_since is not None and (heard is None or heard <= silent_since):
        yield Suspicion(Finding(silent_since, "Silence: nothing was heard from anybody", subject="silence"))
        return
    if heard is None or not timedelta(minutes=_SILENT_MINUTES) < now - heard < timedelta(days=_KNOWN_DAYS):
        return
    # Of two pipelines at least: more likely the network or the scheduler is away than every pipeline at once.
    statement = """
        SELECT min(expected_at) AS since, count(DISTINCT pipeline_id) AS pipelines
        FROM missed_run_log
        WHERE evaluated_at > now() - make_interval(mins => :minutes) AND expected_at > now() - interval '1 day'
        HAVING count(DISTINCT pipeline_id) >= 2
    """
    row = connection.execute(text(statement), {"minutes": _SILENT_MINUTES}).one_or_none()
    if row is not None:
        detail = (
            f"Silence: all runs that were due in the last {_SILENT_MINUTES} minutes were missed, of {row.pipelines:,}"
            " pipelines, and nothing was heard from anybody: look at the scheduler and at the network to Watcher"
        )
        yield Suspicion(Finding(row.since, detail, subject="silence"), up >= _SILENT_MINUTES)


def _broken(channel: BrokenChannel) -> Finding:
    what = "is gone" if channel.gone else "does not deliver"
    return Finding(channel.since, f"The channel '{channel.name}' {what}: {channel.last_error}", subject=channel.name)
