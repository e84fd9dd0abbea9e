"""Runs that go on although the run that called them has ended: no event will say how they ended."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, text

from watcher_server.executions.endless import LostRun, Silent, end_as_lost

MINUTES: Final = 5

# What is open by ix_pipeline_execution_running, the caller by the primary key, the run by its index on execution_id.
# While events of its namespace wait for long, its end may be among them (ix_openlineage_event_waiting). A stream
# outlives the program that started it. One that was ended here and is heard of again is open again, until the next
# look.
_FIND = """
SELECT execution.id, least(greatest(execution.start_date, execution.heard_at), now()) AS heard_at
FROM pipeline_execution AS execution
JOIN pipeline_execution AS caller ON caller.id = execution.parent_id
    AND caller.end_date < now() - make_interval(mins => :minutes)
JOIN openlineage_run AS run ON run.execution_id = execution.id
JOIN openlineage_job AS job ON job.id = run.job_id
WHERE execution.end_date IS NULL AND NOT execution.backfill
    AND coalesce(upper(run.state #>> '{facets,jobType,2,processingType}'), '') NOT IN ('STREAMING', 'SERVICE')
    AND NOT EXISTS (
        SELECT FROM openlineage_event AS event
        WHERE event.lane = left(job.namespace, 200) AND event.applied_at IS NULL
            AND event.received_at < now() - interval '30 seconds'
    )
ORDER BY execution.id LIMIT 1000
"""


def end_orphans(connection: Connection) -> Sequence[LostRun]:
    """End the runs as lost whose caller ended more than five minutes ago, when they were heard of last; those."""
    found = [Silent._make(row) for row in connection.execute(text(_FIND), {"minutes": MINUTES})]
    return end_as_lost(connection, found) if found else []
