"""Schedules: what Airflow says of its DAGs becomes the schedule of their pipelines, while people set no other."""

import json
from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import Connection, text

from watcher_server.openlineage.applying.pipelines import Job
from watcher_server.openlineage.deriving import job_kind
from watcher_server.openlineage.folding import Facet, State, facet_of, value_of
from watcher_server.openlineage.reading import Reading
from watcher_server.schedules.cron import ScheduleError, find_zone, parse_expression
from watcher_server.schedules.planning import plan_change

_MOST_CHARACTERS: Final = 100
_PRESETS: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}

# They are locked already, in the order of their names.
_READ = """
SELECT id, schedule, schedule_timezone, schedule_grace_minutes, active AND archived_at IS NULL AS active
FROM pipeline WHERE id = ANY(CAST(:ids AS bigint[]))
"""
_WRITE = """
UPDATE pipeline SET schedule = wanted.schedule, schedule_timezone = wanted.schedule_timezone,
    schedule_grace_minutes = wanted.schedule_grace_minutes, expected_next_run = wanted.expected_next_run,
    due_since = NULL, last_missed_run = CASE WHEN wanted.schedule IS NOT NULL THEN last_missed_run END,
    updated_at = nullif(now(), created_at)
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS wanted (
    id bigint, schedule text, schedule_timezone text, schedule_grace_minutes integer, expected_next_run timestamptz
)
WHERE pipeline.id = wanted.id
"""


def job_facts(reading: Reading) -> dict[str, Facet]:
    """What an event says of its job; dbt's client sends the tags of a node with its runs."""
    facts = dict(reading.job_facts)
    run_tags = reading.state["facets"].get("run tags")
    if run_tags is not None:
        tags = (value_of(run_tags) or {}).get("tags", ())
        ours = [tag for tag in tags if (tag.get("source") or "").upper() in {"DBT", "DBT_META"}]
        if ours:
            facts["node tags"] = [*run_tags[:2], {"tags": ours}]
    schedule = _schedule_of(reading.state)
    if schedule is not None:
        facts["schedule"] = schedule
    return facts


def write_schedules(connection: Connection, jobs: Iterable[Job]) -> None:
    """Write the schedules that changed, where the pipeline has none, or the one that was written from here."""
    changed = {
        job.pipeline_id: job
        for job in jobs
        if job.pipeline_id and "schedule" in job.facts and _wanted(job.facts["schedule"]) != job.schedule
    }
    if not changed:
        return
    rows = []
    for row in connection.execute(text(_READ), {"ids": sorted(changed)}):
        job = changed[row.id]
        is_ours = job.schedule is not None and [row.schedule, row.schedule_timezone] == job.schedule
        if row.schedule is not None and not is_ours:
            continue
        wanted = _wanted(job.facts["schedule"])
        new: dict[str, Any] = {"schedule": None}
        if wanted is not None:
            grace = row.schedule_grace_minutes if is_ours else 30
            new = {"schedule": wanted[0], "schedule_timezone": wanted[1], "schedule_grace_minutes": grace}
        planned = plan_change(row, new)
        job.schedule, job.is_stored = wanted, False
        if planned:
            next_run = planned["expected_next_run"]
            kept = {"schedule_timezone": row.schedule_timezone, "schedule_grace_minutes": row.schedule_grace_minutes}
            rows.append({**kept, **new, "id": row.id, "expected_next_run": next_run and next_run.isoformat()})
    if rows:
        connection.execute(text(_WRITE), {"rows": json.dumps(rows)})


def _wanted(facet: Facet) -> list[str] | None:
    """The expression and the zone; None where the DAG has no schedule that is cron with five fields."""
    said = value_of(facet) or {}
    try:
        expression = parse_expression(said.get("cron") or "")
        zone = find_zone(said.get("timezone") or "UTC")
    except ScheduleError:
        return None
    return [expression, zone] if len(expression) <= _MOST_CHARACTERS else None


def _schedule_of(state: State) -> Facet | None:
    """The schedule that Airflow says its DAG has, as a fact of the DAG's job."""
    if job_kind(state) != ("AIRFLOW", "DAG"):
        return None
    for name in ("airflowDagRun", "airflow"):
        dag = (facet_of(state, name) or {}).get("dag")
        if dag is not None:
            timetable = dag.get("timetable") or {}
            expression = timetable.get("expression") or dag.get("schedule_interval") or ""
            said = {"cron": _PRESETS.get(expression, expression), "timezone": timetable.get("timezone")}
            return [*state["facets"][name][:2], said if expression else {}]
    return None
