"""The last run took longer than it may: that is over, and nobody has to act, but who reads "ok" should know it."""

from collections.abc import Mapping
from typing import Any, Final

from watcher_server.kit.durations import duration_text
from watcher_server.pipelines.summaries import Interval

# Null, or how many seconds the last run took and what it may take, for a row of pipeline_effective named pipeline. One
# that failed, or of which the check is muted, is no matter of time. The newest first by
# ix_pipeline_execution_pipeline_id_start_date.
OVERRUN: Final = """
CASE WHEN pipeline.active AND NOT pipeline.timeliness_muted AND pipeline.timeliness_number IS NOT NULL THEN (
    SELECT CASE WHEN completed_successfully AND end_date
            > watcher_deadline(start_date, pipeline.timeliness_number, pipeline.timeliness_datepart)
        THEN jsonb_build_object(
            'seconds', extract(epoch FROM end_date - start_date),
            'number', pipeline.timeliness_number, 'datepart', pipeline.timeliness_datepart
        ) END
    FROM pipeline_execution AS execution
    WHERE execution.pipeline_id = pipeline.id AND end_date IS NOT NULL AND NOT backfill
    ORDER BY start_date DESC, id DESC LIMIT 1
) END
"""


def overrun_text(found: Mapping[str, Any] | None) -> str | None:
    """What is to be said beside the status: "its last run took 15m of 5 minutes"; None if there is nothing to say."""
    if found is None:
        return None
    allowed = Interval(found["number"], found["datepart"], own=True)
    return f"its last run took {duration_text(found['seconds'])} of {allowed}"
