"""Runs that never end: the silent ones are ended as lost, and people hear of them and of those that pile up."""

from collections.abc import Sequence
from datetime import UTC
from itertools import groupby
from operator import attrgetter

from sqlalchemy import Connection, Engine, text

from watcher_server.alerts.service import Subject
from watcher_server.executions.endless import Crowd, LostRun, end_as_lost, find_crowds, find_silent
from watcher_server.incidents.kinds import Kind
from watcher_server.incidents.opening import Finding, Opening, lock_incidents, open_incidents
from watcher_server.incidents.telling import Line, speaking, tell
from watcher_server.settings import Settings


class EndlessRuns:
    """Looks for runs that never end.

    A run is lost when two looks in a row find it silent: a replay reports a run of long ago as begun, and its end a
    moment later.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._found: frozenset[int] = frozenset()

    def look(self, engine: Engine) -> None:
        """End the runs that are silent since the look before, and open an incident for each pipeline that is wrong."""
        with engine.begin() as connection:
            silent = find_silent(connection, self._settings.lost_after_hours)
            lost = end_as_lost(connection, [run for run in silent if run.id in self._found])
            news = find_news(connection, lost, self._settings.alert_max_age_hours)
            # The lost runs that nobody was told about, besides these.
            replaced = connection.execute(text(_REPLACED), {"ids": [run.id for run in lost]})
            tell_lost(connection, [*news, *map(LostRun._make, replaced)])
        self._found = frozenset(run.id for run in silent)
        with engine.begin() as connection:
            # Those that are silent are lost a minute later.
            tell_overlapping(connection, find_crowds(connection, self._found))


# Where one run is allowed at a time, the start of the next ends it (executions/statements.py). What was told is in the
# incidents, by ix_incident_pipeline_id; the latest runs by ix_pipeline_execution_pipeline_id_start_date.
_REPLACED = """
SELECT run.id, run.pipeline_id, run.start_date, run.end_date
FROM pipeline
CROSS JOIN LATERAL (
    SELECT coalesce(max(execution_id), 0) AS id FROM incident
    WHERE incident.pipeline_id = pipeline.id AND kind = 'lost'
) AS told
CROSS JOIN LATERAL (
    SELECT * FROM pipeline_execution AS execution
    WHERE execution.pipeline_id = pipeline.id ORDER BY execution.start_date DESC LIMIT 100
) AS run
WHERE pipeline.max_concurrent = 1 AND pipeline.active AND pipeline.archived_at IS NULL
    AND run.outcome = 'lost' AND NOT run.backfill AND run.id > told.id AND run.id <> ALL(CAST(:ids AS bigint[]))
"""


def find_news(connection: Connection, lost: Sequence[LostRun], alert_max_age_hours: int) -> list[LostRun]:
    """These lost runs without those that were read from old events, about which no alerts are sent."""
    if not lost:
        return []
    parameters = {"ids": [run.id for run in lost], "alert_max_age_hours": alert_max_age_hours}
    # By the index on execution_id.
    statement = """
        SELECT execution_id FROM openlineage_run
        WHERE execution_id = ANY(CAST(:ids AS bigint[]))
            AND created_at > last_event_at + make_interval(hours => :alert_max_age_hours)
    """
    late = set(connection.scalars(text(statement), parameters))
    return [run for run in lost if run.id not in late]


def tell_lost(connection: Connection, lost: Sequence[LostRun]) -> int:
    """Open the incidents of active pipelines with lost runs, and raise one message for those that speak; how many did.

    Where a later run has ended since, it is over already: its incident is opened and resolved at once.
    """
    if not lost:
        return 0
    lock_incidents(connection)
    by_pipeline = {
        pipeline_id: sorted(runs, key=attrgetter("start_date", "id"))
        for pipeline_id, runs in groupby(sorted(lost, key=attrgetter("pipeline_id")), attrgetter("pipeline_id"))
    }
    parameters = {"ids": list(by_pipeline), "starts": [runs[-1].start_date for runs in by_pipeline.values()]}
    # By primary keys, and backwards by ix_pipeline_execution_pipeline_id_start_date.
    statement = """
        SELECT pipeline.id, coalesce(pipeline.display_name, pipeline.name) AS name, EXISTS (
            SELECT FROM pipeline_execution AS execution
            WHERE execution.pipeline_id = pipeline.id AND execution.start_date > latest.start_date
                AND end_date IS NOT NULL AND outcome IS NULL AND NOT backfill
        ) AS has_ended_since
        FROM unnest(CAST(:ids AS bigint[]), CAST(:starts AS timestamptz[])) AS latest (pipeline_id, start_date)
        JOIN pipeline ON pipeline.id = latest.pipeline_id AND pipeline.active AND pipeline.archived_at IS NULL
    """
    pipelines = connection.execute(text(statement), parameters).all()
    findings = [_lost_finding(by_pipeline[row.id], over=row.has_ended_since) for row in pipelines]
    told = speaking(connection, open_incidents(connection, Kind.LOST, findings), pipelines)
    lines = [(opening.level, _line(row.name, opening)) for opening, row in told]

    def message(lines: Sequence[Line]) -> str:
        return f"{sum(len(by_pipeline[line.about.pipeline_id or 0]) for line in lines)} run(s) lost"

    tell(connection, Kind.LOST, "opened", message, lines)
    return len(lines)


def _lost_finding(runs: Sequence[LostRun], *, over: bool) -> Finding:
    latest = runs[-1]
    heard = f"{latest.heard_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    return Finding(
        min(run.heard_at for run in runs),
        f"Execution ID {latest.id} is lost: nothing was heard of it after {heard}",
        pipeline_id=latest.pipeline_id,
        execution_id=latest.id,
        count=len(runs),
        counts_up=True,
        over=over,
    )


def tell_overlapping(connection: Connection, crowds: Sequence[Crowd]) -> int:
    """Open the incidents of these pipelines, and raise one message for those that speak; how many did."""
    openings = open_incidents(connection, Kind.OVERLAPPING, [_overlapping_finding(crowd) for crowd in crowds])
    lines = [(opening.level, _line(crowd.name, opening)) for opening, crowd in speaking(connection, openings, crowds)]
    tell(connection, Kind.OVERLAPPING, "opened", lambda told: f"{len(told)} pipeline(s) with overlapping runs", lines)
    return len(lines)


def _overlapping_finding(crowd: Crowd) -> Finding:
    allowed = "" if crowd.most is None else f", {crowd.most:,} may be"
    return Finding(
        crowd.since,
        f"{crowd.runs:,} runs are open at once{allowed}, the latest is execution ID {crowd.execution_id}",
        pipeline_id=crowd.pipeline_id,
        execution_id=crowd.execution_id,
        count=crowd.runs,
    )


def _line(name: str, opening: Opening) -> Line:
    finding = opening.finding
    about = Subject(incident_id=opening.incident_id, pipeline_id=finding.pipeline_id, execution_id=finding.execution_id)
    return Line(name, finding.detail, about)
