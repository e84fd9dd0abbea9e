"""What the checks found of a pipeline, and whether an alert of it was delivered."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.alerts.reading import Told, ToldOf, read_alerts_of_executions, read_alerts_of_pipeline
from watcher_server.anomalies.flagged import read_event_log
from watcher_server.anomalies.models import AnomalyDetectionResult, AnomalyEvent
from watcher_server.freshness.models import FreshnessPipelineLog
from watcher_server.freshness.service import read_stale_log
from watcher_server.missed_runs.models import MissedRunLog
from watcher_server.missed_runs.service import read_missed_log
from watcher_server.timeliness.models import TimelinessExecutionLog
from watcher_server.timeliness.service import read_overdue_log
from watcher_server.web.paging import PAGE_SIZE


class Entry(NamedTuple):
    """One finding: ``kind`` is freshness, timeliness, missed or anomaly, ``row`` its row in the log.

    ``alerted`` says whether an alert was raised; ``told`` is that alert with its delivery, None when it is not known.
    ``result`` is of an anomaly's last run, None once that was unflagged.
    """

    at: datetime
    kind: str
    row: FreshnessPipelineLog | TimelinessExecutionLog | MissedRunLog | AnomalyEvent
    alerted: bool = True
    result: AnomalyDetectionResult | None = None
    told: Told | None = None


async def read_log(
    session: AsyncSession, pipeline_id: int, *, before: datetime | None, alert_max_age_hours: int
) -> tuple[list[Entry], datetime | None]:
    """A page of findings before a moment, the newest first, and the moment to go on from, if there are more."""
    # Without a moment later than any: an anomaly has the moment of its run, which may lie a little ahead of this clock.
    until = before or datetime.now(UTC) + timedelta(days=3_650)
    which: dict[str, Any] = {"before": until, "limit": PAGE_SIZE + 1}
    stale = await read_stale_log(session, pipeline_id, **which)
    overdue = await read_overdue_log(session, pipeline_id, **which, alert_max_age_hours=alert_max_age_hours)
    missed = await read_missed_log(session, pipeline_id, **which)
    events = await read_event_log(session, pipeline_id, **which)
    found = [
        *(Entry(row.evaluated_at, "freshness", row) for row in stale),
        *(Entry(row.evaluated_at, "timeliness", row, alerted=alerted) for row, alerted in overdue),
        *(Entry(row.evaluated_at, "missed", row) for row in missed),
        *(Entry(row.last_at, "anomaly", row, alerted=row.alerted, result=result) for row, result in events),
    ]
    found.sort(key=lambda entry: entry.at, reverse=True)
    # What was found at the same moment as the last of the page belongs to it: the next page begins before that moment.
    shown = [entry for place, entry in enumerate(found) if place < PAGE_SIZE or entry.at == found[PAGE_SIZE - 1].at]
    return await _with_alerts(session, shown), shown[-1].at if len(shown) < len(found) else None


async def _with_alerts(session: AsyncSession, entries: Sequence[Entry]) -> list[Entry]:
    executions = {execution for entry in entries if (execution := _execution(entry)) is not None}
    of_executions = await read_alerts_of_executions(session, executions)
    others = [entry for entry in entries if _execution(entry) is None]
    of_pipeline: Sequence[ToldOf] = ()
    if others:
        of_pipeline = await read_alerts_of_pipeline(
            session, others[0].row.pipeline_id, min(entry.at for entry in others)
        )

    def told_of(entry: Entry, until: datetime | None) -> Told | None:
        if (execution := _execution(entry)) is not None:
            return _first(entry, (each for each in of_executions if each.execution_id == execution))
        later = (each for each in of_pipeline if entry.at <= each.told.alert.created_at)
        return _first(entry, (each for each in later if until is None or each.told.alert.created_at < until))

    # What was told of a finding was told before the next one of its kind. The newest come first.
    found, next_at = [], dict[tuple[str, str | None], datetime]()
    for entry in entries:
        about = (entry.kind, _kind(entry))
        found.append(entry._replace(told=told_of(entry, next_at.get(about))) if entry.alerted else entry)
        next_at[about] = entry.at
    return found


def _first(entry: Entry, told: Iterable[ToldOf]) -> Told | None:
    is_about_execution = _execution(entry) is not None
    fitting = (
        each.told
        for each in told
        if each.told.alert.kind == _kind(entry) and (each.execution_id is not None) == is_about_execution
    )
    return next(fitting, None)


def _execution(entry: Entry) -> int | None:
    """The execution that the finding is about, and so its alert; None for one about the pipeline."""
    if isinstance(entry.row, AnomalyEvent):
        return entry.row.first_execution_id
    return entry.row.pipeline_execution_id if isinstance(entry.row, TimelinessExecutionLog) else None


def _kind(entry: Entry) -> str | None:
    severity = getattr(entry.row, "severity", "failure")
    # The kinds of the incidents that the checks open. A warning opens none.
    kinds = {"freshness": "stale", "timeliness": "late", "missed": "missed", "anomaly": "anomalous"}
    return kinds[entry.kind] if severity == "failure" else None
