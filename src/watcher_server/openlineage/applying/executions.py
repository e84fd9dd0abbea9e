"""Executions: written as the start and the end of a run write them, for many runs at once."""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Row, text

from watcher_server.openlineage.applying.runs import Run
from watcher_server.openlineage.deriving import RunView, hides_failures
from watcher_server.openlineage.envelope import EventType
from watcher_server.openlineage.noting import note_run
from watcher_server.telemetry.context import current_context_json
from watcher_server.telemetry.redaction import redact

# Runs that something else reported, among the latest: by ix_pipeline_execution_pipeline_id_start_date.
_REPORTED_OTHERWISE = """
SELECT wanted.id FROM unnest(CAST(:ids AS bigint[])) AS wanted (id)
WHERE EXISTS (
    SELECT FROM pipeline_execution AS execution
    WHERE execution.pipeline_id = wanted.id AND execution.start_date > now() - interval '30 days'
        AND execution.execution_metadata -> 'openlineage' IS NULL
)
"""
_IDS = """
SELECT nextval(pg_get_serial_sequence('pipeline_execution', 'id')) FROM generate_series(1, :number)
"""
_READ = """
SELECT id, completed_successfully, outcome, total_rows, start_date FROM pipeline_execution
WHERE id = ANY(CAST(:ids AS bigint[])) ORDER BY id FOR UPDATE
"""
# What is rolled up into these runs, by ix_openlineage_run_into_key.
_PARTS = """
SELECT into_key, count(*) AS total, count(*) FILTER (WHERE failed) AS failed,
    (array_agg(
        state #>> '{facets,errorMessage,2,message}' ORDER BY ended_at, state #>> '{facets,errorMessage,2,message}'
    ) FILTER (WHERE failed AND state #>> '{facets,errorMessage,2,message}' IS NOT NULL))[1] AS error,
    least(sum((
        SELECT sum((output.value #>> '{f,outputStatistics,2,rowCount}')::numeric)
        FROM jsonb_each(state -> 'outputs') AS output (key, value)
    )), 9223372036854775807)::bigint AS rows,
    bool_or(state -> 'outputs' <> '{}') AS wrote,
    (array_agg(state #> '{facets,externalQuery,2}' ORDER BY last_event_at, state #>> '{facets,externalQuery,2}')
        FILTER (WHERE state #> '{facets,externalQuery,2}' IS NOT NULL))[1] AS query
FROM openlineage_run WHERE into_key = ANY(CAST(:keys AS uuid[])) AND rolled_up GROUP BY into_key
"""
# By ix_openlineage_run_parent_key.
_FAILED_CHILDREN = """
SELECT parent_key, count(*) AS number FROM openlineage_run
WHERE parent_key = ANY(CAST(:keys AS uuid[])) AND failed AND NOT rolled_up GROUP BY parent_key
"""
# As executions/statements.py stores a run. Where a row was and where it is now, both days are summed again. A run that
# was ended as lost stays so until something later is heard of it.
_STORE = """
WITH given AS (
    SELECT sent.*, CAST(started AT TIME ZONE 'UTC' AS date) AS day,
        CASE WHEN is_timed THEN extract(epoch FROM ended - started) END AS seconds,
        make_interval(secs => ahead) AS skew
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS sent (
        id bigint, pipeline_id bigint, started timestamptz, ended timestamptz, is_timed boolean, succeeded boolean,
        outcome text, total_rows bigint, ahead float8, heard_at timestamptz, metadata jsonb
    )
), before AS (
    SELECT execution.id, execution.date_recorded, execution.start_date, execution.pipeline_id,
        execution.outcome = 'lost' AND given.ended IS NULL AND given.heard_at <= execution.heard_at AS stays_lost,
        execution.end_date
    FROM pipeline_execution AS execution JOIN given USING (id)
), run AS (
    SELECT given.id, given.pipeline_id, started, day, seconds, skew, total_rows, metadata, given.heard_at,
        CASE WHEN stays_lost THEN before.end_date ELSE ended END AS ended,
        CASE WHEN stays_lost THEN false ELSE succeeded END AS succeeded,
        CASE WHEN stays_lost THEN 'lost' ELSE given.outcome END AS outcome
    FROM given LEFT JOIN before USING (id)
), stored AS (
    INSERT INTO pipeline_execution AS execution (
        id, pipeline_id, start_date, start_skew, date_recorded, hour_recorded, end_date, end_skew, duration_seconds,
        completed_successfully, outcome, total_rows, throughput, execution_metadata, heard_at
    )
    SELECT id, pipeline_id, started, nullif(skew, '0'), day, extract(hour FROM started AT TIME ZONE 'UTC'), ended,
        CASE WHEN ended IS NOT NULL THEN nullif(skew, '0') END, round(seconds), succeeded, outcome, total_rows,
        CASE WHEN seconds = 0 AND total_rows IS NOT NULL THEN 0 ELSE round(total_rows / nullif(seconds, 0), 4) END,
        metadata, heard_at
    FROM run ORDER BY id
    ON CONFLICT (id) DO UPDATE SET
        start_date = excluded.start_date, start_skew = excluded.start_skew, date_recorded = excluded.date_recorded,
        hour_recorded = excluded.hour_recorded, end_date = excluded.end_date, end_skew = excluded.end_skew,
        duration_seconds = excluded.duration_seconds, completed_successfully = excluded.completed_successfully,
        outcome = excluded.outcome, total_rows = excluded.total_rows, throughput = excluded.throughput,
        execution_metadata = excluded.execution_metadata, heard_at = excluded.heard_at
    RETURNING id, pipeline_id, date_recorded, start_date
), closure AS (
    INSERT INTO pipeline_execution_closure (parent_execution_id, child_execution_id, depth)
    SELECT id, id, 0 FROM stored ON CONFLICT DO NOTHING
)
INSERT INTO daily_pipeline_metric_change AS change (date_recorded, pipeline_id)
SELECT date_recorded, pipeline_id FROM stored WHERE start_date < date_trunc('day', now(), 'UTC')
UNION SELECT date_recorded, pipeline_id FROM before WHERE start_date < date_trunc('day', now(), 'UTC')
ORDER BY date_recorded, pipeline_id
ON CONFLICT (date_recorded, pipeline_id) DO UPDATE SET pipeline_id = change.pipeline_id WHERE false
"""
# As at the end of a run: an old write that is told late does not turn the last one back.
_NOTE_WRITES = """
UPDATE pipeline SET last_output = greatest(least(wanted.at, now()), CASE WHEN last_output <= now() THEN last_output END)
FROM (
    SELECT id, max(at) AS at FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS written (id bigint, at timestamptz)
    GROUP BY id
) AS wanted
WHERE pipeline.id = wanted.id
    AND last_output IS DISTINCT FROM
        greatest(least(wanted.at, now()), CASE WHEN last_output <= now() THEN last_output END)
"""
_JUDGE = """
INSERT INTO outbox (task_name, queue, kwargs, context)
SELECT CASE WHEN succeeded THEN 'detect_anomalies_task' ELSE 'judge_failure_task' END,
    CASE WHEN succeeded THEN 'celery' ELSE 'scheduled' END,
    jsonb_build_object('pipeline_id', pipeline_id, 'pipeline_execution_id', id), CAST(:context AS jsonb)
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS run (id bigint, pipeline_id bigint, succeeded boolean)
WHERE NOT succeeded OR EXISTS (
    SELECT FROM anomaly_detection_rule AS rule WHERE rule.pipeline_id = run.pipeline_id AND rule.active
)
ORDER BY id
"""


class Parts(NamedTuple):
    """What is rolled up into a run."""

    total: int
    failed: int
    error: str | None
    rows: int | None
    wrote: bool
    query: dict[str, Any] | None


def give_ids(connection: Connection, runs: Iterable[Run], pipelines: Mapping[UUID, int], adopted: set[int]) -> None:
    """Give each run that began the id of its execution, but those that something else reports already.

    None of the ``runs`` is rolled up. ``pipelines`` are by the key of a run; ``adopted`` are those that were there
    before their jobs, which others may report too.
    """
    new = [
        run
        for run in runs
        if run.view.started_at is not None and run.key in pipelines and (run.execution_id is None or _missing(run))
    ]
    asked = {"ids": sorted(adopted & {pipelines[run.key] for run in new})}
    taken = set(connection.scalars(text(_REPORTED_OTHERWISE), asked)) if asked["ids"] else set()
    # In the order in which they began, as the ids of other executions mostly are.
    wanted = sorted(
        (view.started_at, run.key, run)
        for run in new
        if pipelines[run.key] not in taken
        for view in run.views[len(run.views) - _missing(run) :]
        if view.started_at is not None
    )
    ids = connection.scalars(text(_IDS), {"number": len(wanted)}).all() if wanted else []
    for (_, _, run), execution_id in zip(wanted, ids, strict=True):
        if run.execution_id is not None:
            run.earlier_ids.append(run.execution_id)
        run.execution_id = execution_id


def _missing(run: Run) -> int:
    """How many attempts have no execution."""
    known = len(run.earlier_ids) + (run.execution_id is not None)
    return max(0, len(run.views) - known)


def read_parts(connection: Connection, keys: Iterable[UUID]) -> dict[UUID, Parts]:
    """What is rolled up into each of these runs."""
    rows = connection.execute(text(_PARTS), {"keys": sorted(keys)})
    return {key: Parts._make(parts) for key, *parts in rows}


def store_executions(
    connection: Connection, runs: list[Run], pipelines: Mapping[UUID, int], parts: Mapping[UUID, Parts]
) -> set[int]:
    """Write these runs, note what they wrote, and have those judged that ended or say other numbers now.

    Returns:
        The pipelines that have a run with a number of rows now.
    """
    rows = [row for run in runs for row in _rows(run, pipelines[run.key], parts.get(run.key))]
    _note_failed_children(connection, runs, rows)
    before = {row.id: row for row in connection.execute(text(_READ), {"ids": sorted(row["id"] for row in rows)})}
    judged = [row for row in rows if _is_to_be_judged(row, before.get(row["id"]))]
    writes = [
        {"id": pipelines[run.key], "at": at.isoformat()}
        for run in runs
        if (at := _wrote_at(run, parts.get(run.key))) is not None
    ]
    if rows:
        connection.execute(text(_STORE), {"rows": json.dumps(rows)})
    if writes:
        connection.execute(text(_NOTE_WRITES), {"rows": json.dumps(writes)})
    if judged:
        told = [{name: row[name] for name in ("id", "pipeline_id", "succeeded")} for row in judged]
        connection.execute(text(_JUDGE), {"rows": json.dumps(told), "context": current_context_json()})
    return {row["pipeline_id"] for row in rows if row["total_rows"] is not None}


def _note_failed_children(connection: Connection, runs: list[Run], rows: list[dict[str, Any]]) -> None:
    hiding = {run.key: run.execution_id for run in runs if hides_failures(run.state)}
    if not hiding:
        return
    found = connection.execute(text(_FAILED_CHILDREN), {"keys": list(hiding)})
    numbers = {hiding[row.parent_key]: row.number for row in found}
    for row in rows:
        if row["id"] in numbers:
            row["metadata"]["openlineage"]["failed_children"] = numbers[row["id"]]


def _is_to_be_judged(row: dict[str, Any], old: Row[Any] | None) -> bool:
    """Whether it ended otherwise than before, or ended well and says other numbers now."""
    if old is None:
        return row["succeeded"] is True or (row["succeeded"] is False and row["outcome"] is None)
    is_new = (old.completed_successfully, old.outcome) != (row["succeeded"], row["outcome"])
    if row["succeeded"]:
        return is_new or (old.total_rows, old.start_date.isoformat()) != (row["total_rows"], row["started"])
    return row["succeeded"] is False and row["outcome"] is None and is_new


def _rows(run: Run, pipeline_id: int, parts: Parts | None) -> Iterator[dict[str, Any]]:
    """Of each attempt that is not as it was before; what is rolled up belongs to the latest."""
    for number, (view, execution_id) in enumerate(run.attempts):
        is_latest = view is run.view
        was_latest = number + 1 == len(run.old_views)
        is_other = is_latest or was_latest or run.old_views[number : number + 1] != [view]
        if execution_id is not None and is_other:
            yield _row(run, view, execution_id, pipeline_id, parts if is_latest else None)


def _row(run: Run, view: RunView, execution_id: int, pipeline_id: int, parts: Parts | None) -> dict[str, Any]:
    outcome = "aborted" if view.outcome is EventType.ABORT else None
    total_rows, metadata = view.total_rows, note_run(run.state, run.job, run.run_id, view, is_latest=view is run.view)
    if parts is not None:
        total_rows = parts.rows if total_rows is None else total_rows
        said = {**metadata["openlineage"], "statements": {"total": parts.total, "failed": parts.failed}}
        if parts.query and "query" not in said:
            said["query"] = {"id": parts.query.get("externalQueryId"), "source": parts.query.get("source")}
        metadata = {**metadata, "openlineage": said}
        if view.failed and parts.error and "error" not in metadata:
            error = redact(parts.error)
            said["error"] = {"message": error}
            metadata["error"] = error
    return {
        "id": execution_id,
        "pipeline_id": pipeline_id,
        "started": view.started_at and view.started_at.isoformat(),
        "ended": view.ended_at and view.ended_at.isoformat(),
        "is_timed": view.start_known and view.ended_at is not None,
        "succeeded": None if view.outcome is None else view.outcome is EventType.COMPLETE,
        "outcome": "retried" if view.retried else outcome,
        "total_rows": total_rows,
        "ahead": view.ahead / 1_000_000,
        "heard_at": view.heard_at.isoformat(),
        "metadata": metadata,
    }


def _wrote_at(run: Run, parts: Parts | None) -> datetime | None:
    """When the run wrote last, as far as it says."""
    view = run.view
    if view.streaming and run.state["outputs"]:
        return view.heard_at
    if view.outcome is EventType.COMPLETE and (view.wrote or (parts is not None and parts.wrote)):
        return view.ended_at
    return None
