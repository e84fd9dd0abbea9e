"""Which execution another one called, also where the caller is heard of later, and the closure of that tree."""

from collections.abc import Collection, Mapping

from sqlalchemy import Connection, text

from watcher_server.openlineage.applying.edges import rebuild

_READ = """
WITH RECURSIVE above (id, parent_id) AS (
    SELECT id, parent_id FROM pipeline_execution WHERE id = ANY(CAST(:ids AS bigint[]))
    UNION
    SELECT execution.id, execution.parent_id FROM pipeline_execution AS execution
    JOIN above ON execution.id = above.parent_id
)
SELECT id, parent_id FROM above
"""
_LINK = """
UPDATE pipeline_execution AS execution SET parent_id = wanted.parent_id
FROM unnest(CAST(:ids AS bigint[]), CAST(:parents AS bigint[])) AS wanted (id, parent_id)
WHERE execution.id = wanted.id
"""
# All pairs through what lies at or below these, which were connected by their former parents and are by the new ones.
# Downwards by ix_pipeline_execution_parent_id, upwards by the primary key.
_CONNECT = """
WITH RECURSIVE below (id) AS (
    SELECT unnest(CAST(:ids AS bigint[]))
    UNION
    SELECT execution.id FROM pipeline_execution AS execution JOIN below ON execution.parent_id = below.id
), pair (top, bottom, distance) AS (
    SELECT id, id, 0 FROM below
    UNION ALL
    SELECT execution.parent_id, pair.bottom, distance + 1
    FROM pair JOIN pipeline_execution AS execution ON execution.id = pair.top
    WHERE execution.parent_id IS NOT NULL
)
INSERT INTO pipeline_execution_closure (parent_execution_id, child_execution_id, depth)
SELECT top, bottom, distance FROM pair
ON CONFLICT (parent_execution_id, child_execution_id) DO NOTHING
"""
_DISCONNECT = """
WITH RECURSIVE below (root, id) AS (
    SELECT wanted.id, wanted.id FROM unnest(CAST(:ids AS bigint[])) AS wanted (id)
    UNION
    SELECT below.root, execution.id FROM pipeline_execution AS execution JOIN below ON execution.parent_id = below.id
)
DELETE FROM pipeline_execution_closure AS closure USING below
WHERE closure.child_execution_id = below.id AND closure.parent_execution_id IN (
    SELECT above.parent_execution_id FROM pipeline_execution_closure AS above
    WHERE above.child_execution_id = below.root AND above.depth > 0
)
"""
# A run that turned out to be a part of another one leaves no trace of its own. The runs that it called became roots.
_UNMAKE = """
WITH orphaned AS (
    UPDATE pipeline_execution SET parent_id = NULL
    WHERE parent_id = ANY(CAST(:ids AS bigint[])) AND id <> ALL(CAST(:ids AS bigint[]))
), severed AS (
    DELETE FROM pipeline_execution_closure AS closure USING (
        SELECT DISTINCT above.parent_execution_id AS top, below.child_execution_id AS bottom
        FROM unnest(CAST(:ids AS bigint[])) AS doomed (id)
        JOIN pipeline_execution_closure AS above ON above.child_execution_id = doomed.id
        JOIN pipeline_execution_closure AS below ON below.parent_execution_id = doomed.id
    ) AS pair
    WHERE closure.parent_execution_id = pair.top AND closure.child_execution_id = pair.bottom
), timeliness AS (
    DELETE FROM timeliness_pipeline_execution_log WHERE pipeline_execution_id = ANY(CAST(:ids AS bigint[]))
), results AS (
    DELETE FROM anomaly_detection_result WHERE pipeline_execution_id = ANY(CAST(:ids AS bigint[]))
), deleted AS (
    DELETE FROM pipeline_execution WHERE id = ANY(CAST(:ids AS bigint[]))
    RETURNING pipeline_id, date_recorded, start_date
)
INSERT INTO daily_pipeline_metric_change AS change (date_recorded, pipeline_id)
SELECT DISTINCT date_recorded, pipeline_id FROM deleted WHERE start_date < date_trunc('day', now(), 'UTC')
ORDER BY date_recorded, pipeline_id
ON CONFLICT (date_recorded, pipeline_id) DO UPDATE SET pipeline_id = change.pipeline_id WHERE false
"""
# A pipeline that only such runs made is forgotten, as a person would have it forgotten (archive/service.py).
_FORGET = """
WITH forgotten AS (
    UPDATE pipeline SET archived_at = coalesce(archived_at, now()), forgotten_at = now(), expected_next_run = NULL,
        name = ' forgotten ' || id, display_name = NULL, ping_uuid = gen_random_uuid()
    WHERE id = ANY(CAST(:ids AS bigint[])) AND forgotten_at IS NULL
        AND NOT EXISTS (SELECT FROM pipeline_execution AS run WHERE run.pipeline_id = pipeline.id)
        AND NOT EXISTS (
            SELECT FROM openlineage_job AS job JOIN openlineage_run AS run ON run.job_id = job.id
            WHERE job.pipeline_id = pipeline.id AND NOT run.rolled_up
        )
    RETURNING id
), let_go AS (
    UPDATE openlineage_job AS job SET pipeline_id = NULL FROM forgotten WHERE job.pipeline_id = forgotten.id
), severed AS (
    DELETE FROM address_lineage USING forgotten WHERE address_lineage.pipeline_id = forgotten.id
    RETURNING source_address_id, target_address_id
), queued AS (
    INSERT INTO outbox (task_name, queue, kwargs)
    SELECT 'forget_task', 'scheduled', jsonb_build_object('kind', 'pipeline', 'id', id) FROM forgotten
)
SELECT id, NULL AS address_id FROM forgotten
UNION ALL SELECT NULL, source_address_id FROM severed
UNION ALL SELECT NULL, target_address_id FROM severed
"""


def link(connection: Connection, wanted: Mapping[int, int | None]) -> int:
    """Put executions below their callers, None for a root; how many callers were ignored, because they are below it.

    ``wanted`` has by the id of an execution that of its caller.
    """
    parents = {parent for parent in wanted.values() if parent is not None}
    rows = connection.execute(text(_READ), {"ids": sorted({*wanted, *parents})})
    above: dict[int, int | None] = {row.id: row.parent_id for row in rows}
    changed: dict[int, int | None] = {}
    moved: list[int] = []
    ignored = 0
    for execution_id, parent_id in sorted(wanted.items()):
        if execution_id not in above or above[execution_id] == parent_id:
            continue
        if parent_id is not None and (parent_id not in above or _is_below(above, parent_id, execution_id)):
            ignored += 1
            continue
        if above[execution_id] is not None:
            moved.append(execution_id)
        above[execution_id] = changed[execution_id] = parent_id
    if moved:
        connection.execute(text(_DISCONNECT), {"ids": moved})
    if changed:
        connection.execute(text(_LINK), {"ids": list(changed), "parents": list(changed.values())})
        connection.execute(text(_CONNECT), {"ids": list(changed)})
    return ignored


def unmake(connection: Connection, execution_ids: Collection[int], pipeline_ids: Collection[int]) -> set[int]:
    """Remove executions that are parts of others; those of these pipelines that have none left are forgotten."""
    connection.execute(text(_UNMAKE), {"ids": sorted(execution_ids)})
    rows = connection.execute(text(_FORGET), {"ids": sorted(pipeline_ids)}).all()
    rebuild(connection, {row.address_id for row in rows if row.address_id})
    return {row.id for row in rows if row.id}


def _is_below(above: Mapping[int, int | None], execution_id: int, other: int) -> bool:
    step: int | None = execution_id
    for _ in range(len(above) + 1):
        if step is None:
            return False
        if step == other:
            return True
        step = above.get(step)
    return True
