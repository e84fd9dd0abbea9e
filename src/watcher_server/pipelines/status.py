"""How pipelines do: every condition that holds of each, and the worst of them in one word.

One place says what each word means; whoever shows a state asks here.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache

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
# What may hold of a pipeline together with others, in the order of the statement below; the rest says that none does.
_CONDITIONS = tuple(status for status in Status if status not in {Status.OK, Status.UNKNOWN})


@dataclass(frozen=True, slots=True)
class Condition:
    """What holds of one pipeline; ``last_start`` (UTC) and ``last_seconds`` are its latest run's, and of its end."""

    holding: frozenset[Status]
    last_start: datetime | None
    last_seconds: int | None

    @property
    def status(self) -> Status:
        """The worst of what holds."""
        return self.worst_of(self.holding, has_run=self.last_start is not None)

    @staticmethod
    def worst_of(holding: frozenset[Status], *, has_run: bool) -> Status:
        """The worst of what holds of a pipeline that has run, or never has."""
        return worst(holding or {Status.OK if has_run else Status.UNKNOWN})


def worst(statuses: Iterable[Status]) -> Status:
    """The worst of them; unknown for none."""
    return min(statuses, key=_WORST_FIRST.__getitem__, default=Status.UNKNOWN)


# The latest run is the first that ix_pipeline_execution_pipeline_id_start_date yields, and mostly it is also the latest
# that ended, so that only what runs now is looked for twice; the logs by their unique keys. What the checks logged
# counts for as long as it holds: the log of freshness names the write that was too old, and a muted check says nothing.
_CONDITIONS_OF = """
SELECT pipeline.id, latest.start_date, latest.duration_seconds, ARRAY[
    ended.completed_successfully IS FALSE,
    pipeline.schedule IS NOT NULL AND pipeline.last_missed_run IS NOT NULL
        AND (latest.start_date IS NULL OR latest.start_date < pipeline.last_missed_run),
    latest.is_running IS TRUE AND EXISTS (
        SELECT FROM timeliness_pipeline_execution_log AS log
        WHERE log.pipeline_execution_id = latest.id AND log.severity = 'failure'
    ),
    NOT pipeline.mute_freshness_check AND NOT pipeline_type.mute_freshness_check AND EXISTS (
        SELECT FROM freshness_pipeline_log AS log
        WHERE log.pipeline_id = pipeline.id AND log.severity = 'failure' AND log.last_dml_timestamp IS NOT DISTINCT FROM
            greatest(pipeline.last_target_insert, pipeline.last_target_update, pipeline.last_target_soft_delete)
    ),
    coalesce(jsonb_path_exists(ended.anomaly_flags, '$.* ? (@ == true)'), false),
    latest.is_running IS TRUE
] AS holding
FROM unnest(CAST(:pipeline_ids AS bigint[])) AS wanted (id)
JOIN pipeline USING (id)
JOIN pipeline_type ON pipeline_type.id = pipeline.pipeline_type_id
LEFT JOIN LATERAL (
    SELECT execution.id, start_date, end_date IS NULL AS is_running, duration_seconds, completed_successfully,
        anomaly_flags
    FROM pipeline_execution AS execution WHERE execution.pipeline_id = pipeline.id
    ORDER BY start_date DESC, execution.id DESC LIMIT 1
) AS latest ON true
LEFT JOIN LATERAL (
    SELECT latest.completed_successfully, latest.anomaly_flags WHERE NOT latest.is_running
    UNION ALL (
        SELECT completed_successfully, anomaly_flags
        FROM pipeline_execution AS execution
        WHERE latest.is_running AND execution.pipeline_id = pipeline.id AND end_date IS NOT NULL
        ORDER BY start_date DESC, execution.id DESC LIMIT 1
    )
) AS ended ON true
"""


async def read_conditions(session: AsyncSession, pipeline_ids: Collection[int]) -> dict[int, Condition]:
    """What holds of each of these pipelines, whether active or not; ids of no pipeline are left out."""
    rows = await session.execute(text(_CONDITIONS_OF), {"pipeline_ids": list(pipeline_ids)})
    return {
        pipeline_id: Condition(_holding(tuple(holding)), last_start, last_seconds)
        for pipeline_id, last_start, last_seconds, holding in rows
    }


# Of tens of thousands of pipelines few differ in this.
@cache
def _holding(flags: tuple[bool, ...]) -> frozenset[Status]:
    return frozenset(status for status, holds in zip(_CONDITIONS, flags, strict=True) if holds)


async def read_pipeline_statuses(session: AsyncSession, pipeline_ids: Collection[int]) -> dict[int, Status]:
    """The status of each of these pipelines, whether active or not; ids of no pipeline are left out."""
    return {pipeline_id: found.status for pipeline_id, found in (await read_conditions(session, pipeline_ids)).items()}
