"""What is known of a pipeline: its columns, its type, and the thresholds that hold for it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.lineage.impact import count_downstream
from watcher_server.pipelines.service import find_pipeline


@dataclass(frozen=True, slots=True)
class Interval:
    """A number and its unit; ``own`` says that the pipeline sets it itself, not its type."""

    number: int
    datepart: str
    own: bool

    def __str__(self) -> str:
        return f"{self.number:,} {self.datepart}{'' if self.number == 1 else 's'}"


@dataclass(frozen=True, slots=True)
class Threshold:
    """What a check compares with, and what mutes it: the pipeline, its type, or None."""

    failure: Interval | None
    warning: Interval | None
    muted_by: str | None


@dataclass(frozen=True, slots=True)
class Facts:
    """A pipeline, whole: ``row`` has its columns and its state.

    ``metadata`` is its names and values as text. ``stale_at`` (UTC) is when its data gets, or got, stale; None without
    a threshold, or when no calendar has it. ``downstream`` counts the addresses that depend on what it writes,
    ``targets`` those that it writes.
    """

    row: Row[Any]
    type_name: str
    tags: tuple[str, ...]
    metadata: tuple[tuple[str, str], ...]
    freshness: Threshold
    timeliness: Threshold
    last_write: datetime | None
    stale_at: datetime | None
    targets: int
    first_target_id: int | None
    downstream: int


# By primary keys; the targets by the unique index of address_lineage.
_ABOUT = """
SELECT type.name AS type_name,
    jsonb_path_query_array(pipeline_metadata, '$.tags[*] ? (@.type() == "string")') AS tags,
    pipeline.freshness_number AS own_freshness_number, pipeline.freshness_datepart AS own_freshness_datepart,
    type.freshness_number AS type_freshness_number, type.freshness_datepart AS type_freshness_datepart,
    pipeline.freshness_warning_number AS own_freshness_warning_number,
    pipeline.freshness_warning_datepart AS own_freshness_warning_datepart,
    type.freshness_warning_number AS type_freshness_warning_number,
    type.freshness_warning_datepart AS type_freshness_warning_datepart,
    pipeline.timeliness_number AS own_timeliness_number, pipeline.timeliness_datepart AS own_timeliness_datepart,
    type.timeliness_number AS type_timeliness_number, type.timeliness_datepart AS type_timeliness_datepart,
    pipeline.timeliness_warning_number AS own_timeliness_warning_number,
    pipeline.timeliness_warning_datepart AS own_timeliness_warning_datepart,
    type.timeliness_warning_number AS type_timeliness_warning_number,
    type.timeliness_warning_datepart AS type_timeliness_warning_datepart,
    CASE WHEN pipeline.mute_freshness_check THEN 'pipeline' WHEN type.mute_freshness_check THEN 'type' END
        AS freshness_muted_by,
    CASE WHEN pipeline.mute_timeliness_check THEN 'pipeline' WHEN type.mute_timeliness_check THEN 'type' END
        AS timeliness_muted_by,
    written.last_write, CASE WHEN deadline.stale_at < '9999-01-01' THEN deadline.stale_at END AS stale_at,
    target.number AS targets, target.first_id AS first_target_id
FROM pipeline
JOIN pipeline_type AS type ON type.id = pipeline.pipeline_type_id
CROSS JOIN LATERAL (
    SELECT greatest(last_target_insert, last_target_update, last_target_soft_delete)
) AS written (last_write)
CROSS JOIN LATERAL (
    SELECT watcher_deadline(coalesce(written.last_write, pipeline.created_at),
        coalesce(pipeline.freshness_number, type.freshness_number),
        coalesce(pipeline.freshness_datepart, type.freshness_datepart))
) AS deadline (stale_at)
CROSS JOIN LATERAL (
    SELECT count(DISTINCT target_address_id), min(target_address_id)
    FROM address_lineage WHERE pipeline_id = pipeline.id
) AS target (number, first_id)
WHERE pipeline.id = :pipeline_id
"""


async def read_facts(session: AsyncSession, pipeline_id: int) -> Facts:
    """The pipeline with that id.

    Raises:
        NotFoundError: there is none.
    """
    row = await find_pipeline(session, pipeline_id)
    about = (await session.execute(text(_ABOUT), {"pipeline_id": pipeline_id})).one()
    connection = await session.connection()
    downstream = await connection.run_sync(count_downstream, [pipeline_id])
    return Facts(
        row=row,
        type_name=about.type_name,
        tags=tuple(sorted(set(about.tags or ()))),
        metadata=_pairs(row.pipeline_metadata or {}),
        freshness=_threshold(about, "freshness"),
        timeliness=_threshold(about, "timeliness"),
        last_write=about.last_write,
        stale_at=about.stale_at,
        targets=about.targets,
        first_target_id=about.first_target_id,
        downstream=downstream.get(pipeline_id, 0),
    )


def _pairs(metadata: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Names and values as text; the tags are shown on their own."""
    return tuple(
        (name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        for name, value in metadata.items()
        if name != "tags"
    )


def _threshold(about: Row[Any], check: str) -> Threshold:
    return Threshold(
        failure=_interval(about, check),
        warning=_interval(about, f"{check}_warning"),
        muted_by=getattr(about, f"{check}_muted_by"),
    )


def _interval(about: Row[Any], pair: str) -> Interval | None:
    """The pipeline's own, else its type's."""
    for whose in ("own", "type"):
        number = getattr(about, f"{whose}_{pair}_number")
        if number is not None:
            return Interval(number, getattr(about, f"{whose}_{pair}_datepart"), own=whose == "own")
    return None
