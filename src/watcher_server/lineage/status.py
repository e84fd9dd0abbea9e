"""How pipelines do, in one word each, and how an address does that they write.

One place says what each word means; whoever shows a state asks here.
"""

from collections.abc import Collection, Iterable, Sequence
from enum import StrEnum

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession


class Status(StrEnum):
    """How a pipeline does, worst first; an address does as the worst of the active pipelines that write it.

    ``failed``: its latest run that ended did not succeed. ``missed``: no run has started since the latest one that its
    schedule expected in vain. ``overdue``: its latest run is still going, past its timeliness threshold. ``stale``: it
    has not written for longer than its freshness threshold. ``anomalous``: its latest run that ended is flagged.
    ``running``: its latest run is still going. ``ok``: it has run, and nothing of this holds. ``unknown``: it has never
    run; of an address, no active pipeline writes it.
    """

    FAILED = "failed"
    MISSED = "missed"
    OVERDUE = "overdue"
    STALE = "stale"
    ANOMALOUS = "anomalous"
    RUNNING = "running"
    OK = "ok"
    UNKNOWN = "unknown"


_WORST_FIRST = {status: rank for rank, status in enumerate(Status)}


def worst(statuses: Iterable[Status]) -> Status:
    """The worst of them; unknown for none."""
    return min(statuses, key=_WORST_FIRST.__getitem__, default=Status.UNKNOWN)


# The latest run, and the latest that ended, each the first that ix_pipeline_execution_pipeline_id_start_date yields;
# the logs by their unique keys. What the checks logged counts for as long as it holds: the log of freshness names the
# write that was too old, and a muted check says nothing.
_PIPELINE_STATUSES = """
SELECT pipeline.id, CASE
    WHEN NOT ended.completed_successfully THEN 'failed'
    WHEN pipeline.schedule IS NOT NULL AND pipeline.last_missed_run IS NOT NULL
        AND (latest.start_date IS NULL OR latest.start_date < pipeline.last_missed_run) THEN 'missed'
    WHEN is_running AND EXISTS (
        SELECT FROM timeliness_pipeline_execution_log AS log
        WHERE log.pipeline_execution_id = latest.id AND log.severity = 'failure'
    ) THEN 'overdue'
    WHEN NOT pipeline.mute_freshness_check AND NOT pipeline_type.mute_freshness_check AND EXISTS (
        SELECT FROM freshness_pipeline_log AS log
        WHERE log.pipeline_id = pipeline.id AND log.severity = 'failure' AND log.last_dml_timestamp IS NOT DISTINCT FROM
            greatest(pipeline.last_target_insert, pipeline.last_target_update, pipeline.last_target_soft_delete)
    ) THEN 'stale'
    WHEN jsonb_path_exists(ended.anomaly_flags, '$.* ? (@ == true)') THEN 'anomalous'
    WHEN is_running THEN 'running'
    WHEN latest.id IS NOT NULL THEN 'ok'
    ELSE 'unknown'
END AS status
FROM unnest(CAST(:pipeline_ids AS bigint[])) AS wanted (id)
JOIN pipeline USING (id)
JOIN pipeline_type ON pipeline_type.id = pipeline.pipeline_type_id
LEFT JOIN LATERAL (
    SELECT execution.id, start_date, end_date IS NULL AS is_running
    FROM pipeline_execution AS execution WHERE execution.pipeline_id = pipeline.id
    ORDER BY start_date DESC, execution.id DESC LIMIT 1
) AS latest ON true
LEFT JOIN LATERAL (
    SELECT completed_successfully, anomaly_flags
    FROM pipeline_execution AS execution WHERE execution.pipeline_id = pipeline.id AND end_date IS NOT NULL
    ORDER BY start_date DESC, execution.id DESC LIMIT 1
) AS ended ON true
"""

# By ix_address_lineage_upstream.
_WRITERS = """
SELECT DISTINCT target_address_id, pipeline_id
FROM unnest(CAST(:address_ids AS bigint[])) AS wanted (id)
JOIN address_lineage ON target_address_id = wanted.id
JOIN pipeline ON pipeline.id = pipeline_id AND pipeline.active
"""


async def read_pipeline_statuses(session: AsyncSession, pipeline_ids: Collection[int]) -> dict[int, Status]:
    """The status of each of these pipelines, whether active or not; ids of no pipeline are left out."""
    rows = await session.execute(text(_PIPELINE_STATUSES), {"pipeline_ids": list(pipeline_ids)})
    return {row.id: Status(row.status) for row in rows}


async def read_address_statuses(session: AsyncSession, address_ids: Sequence[int]) -> dict[int, Status]:
    """The status of each of these addresses."""
    writers = (await session.execute(text(_WRITERS), {"address_ids": list(address_ids)})).all()
    by_pipeline = await read_pipeline_statuses(session, {pipeline_id for _, pipeline_id in writers})
    by_address: dict[int, list[Status]] = {address_id: [] for address_id in address_ids}
    for address_id, pipeline_id in writers:
        # A pipeline that began to exist between the two statements is as one that has never run.
        by_address[address_id].append(by_pipeline.get(pipeline_id, Status.UNKNOWN))
    return {address_id: worst(statuses) for address_id, statuses in by_address.items()}
