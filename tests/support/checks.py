"""Everything that looks for what is wrong, at once: the checks as beat starts them, and the sweep."""

from sqlalchemy import Connection, Engine, select

from tests.support.rows import now
from watcher_server.freshness.service import check_freshness
from watcher_server.incidents.failing import judge_failure
from watcher_server.incidents.resolving import resolve_what_is_over
from watcher_server.missed_runs.service import check_schedules
from watcher_server.pipelines.models import Pipeline
from watcher_server.timeliness.service import check_timeliness

# Runs of any age count.
_HOURS = 24 * 365


def run_checks(engine: Engine) -> None:
    """Open an incident for what is wrong with any pipeline by now, and resolve those that are over."""
    with engine.begin() as connection:
        _judge_failures(connection)
        check_freshness(connection)
        check_timeliness(connection, 60, alert_max_age_hours=_HOURS)
        check_schedules(connection, now(), alert_max_age_hours=_HOURS)
        resolve_what_is_over(connection)


def _judge_failures(connection: Connection) -> None:
    for pipeline_id in connection.scalars(select(Pipeline.id).order_by(Pipeline.id)).all():
        judge_failure(connection, pipeline_id, alert_max_age_hours=_HOURS)
