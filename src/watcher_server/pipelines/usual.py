"""What pipelines usually ask for of themselves, each in one statement on autocommit.

Each function finds nothing where more has to be done: :mod:`watcher_server.pipelines.service` then does it in a
transaction.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from watcher_server.audit.service import RECORDED, entry_by
from watcher_server.database.statements import Statement, numbered
from watcher_server.pipelines.models import Pipeline
from watcher_server.pipelines.overruns import OVERRUN
from watcher_server.pipelines.schemas import PipelinePatch, PipelinePost, PipelineResponse, PipelineSynced
from watcher_server.pipelines.service import mark_of
from watcher_server.pipelines.status import MAY_BE_DUE, ONE_PIPELINE
from watcher_server.telemetry.redaction import redact

Connection = AsyncConnection[TupleRow]

_UNCHANGED = """
SELECT id, active, load_lineage, watermark FROM pipeline
WHERE name = %(name)s::text AND fingerprint = %(fingerprint)s::text AND archived_at IS NULL
"""
# The next watermark is no part of the fingerprint, because it changes with every run.
_UNCHANGED_BUT_FOR_NEXT_WATERMARK = f"""
WITH known AS (
    {_UNCHANGED.strip()}
), moved AS (
    UPDATE pipeline SET next_watermark = %(next_watermark)s::text FROM known
    WHERE pipeline.id = known.id AND pipeline.next_watermark IS DISTINCT FROM %(next_watermark)s::text
)
SELECT id, active, load_lineage, watermark FROM known
"""  # noqa: S608 - made of constants
_SYNC, _SYNC_NEXT_WATERMARK = map(numbered, (_UNCHANGED, _UNCHANGED_BUT_FOR_NEXT_WATERMARK))

_COLUMNS = (*(name for name in PipelineResponse.model_fields if name in Pipeline.__table__.columns), "ping_uuid")
# The columns of one pipeline, which the statement calls ``own``, and how it does.
_SHOWN = f"""
SELECT {", ".join(f"own.{name}" for name in _COLUMNS)}, standing.status, standing.also, standing.state,
    {OVERRUN} AS remark,
    EXISTS (SELECT FROM {MAY_BE_DUE} AND pipeline.id = own.id) AS may_be_due
"""  # noqa: S608 - made of constants
FIND = numbered(f"""
{_SHOWN.strip()}
FROM pipeline AS own, {ONE_PIPELINE.strip()}
WHERE own.id = %(id)s AND own.forgotten_at IS NULL AND pipeline.id = own.id
""")

# An entry of the audit trail shows what was there before. A watermark that is neither a number nor a date may be
# anything, also a secret, and those are masked by Python.
_PLAIN = "^[0-9TZ:+. -]*$"


def _move(place: str) -> Statement:
    # As in service.change_pipeline: a watermark that is set by hand is of no run.
    return numbered(f"""
WITH known AS MATERIALIZED (
    SELECT id, watermark, next_watermark, watermark_start_date, coalesce(display_name, name) AS shown_name
    FROM pipeline
    WHERE {place} AND forgotten_at IS NULL
        AND (mute_until IS NULL OR mute_freshness_check OR mute_timeliness_check)
        AND coalesce(watermark, '') ~ '{_PLAIN}' AND coalesce(next_watermark, '') ~ '{_PLAIN}'
    FOR NO KEY UPDATE
), moved AS (
    UPDATE pipeline SET
        watermark = CASE WHEN %(sets_watermark)s THEN %(watermark)s::text ELSE pipeline.watermark END,
        next_watermark = CASE WHEN %(sets_next_watermark)s THEN %(next_watermark)s::text
            ELSE pipeline.next_watermark END,
        watermark_start_date = CASE WHEN NOT %(sets_watermark)s THEN pipeline.watermark_start_date END,
        updated_at = now()
    FROM known WHERE pipeline.id = known.id
    RETURNING pipeline.*
), change AS (
    SELECT 'pipeline' AS object_kind, known.id AS object_id, shown_name AS object_name,
        jsonb_object_agg(field, was) AS before, jsonb_object_agg(field, is_now) AS after
    FROM known JOIN moved USING (id) CROSS JOIN LATERAL (VALUES
        ('watermark', to_jsonb(known.watermark), to_jsonb(moved.watermark)),
        ('next_watermark', to_jsonb(known.next_watermark), to_jsonb(moved.next_watermark)),
        ('watermark_start_date', to_jsonb(known.watermark_start_date), to_jsonb(moved.watermark_start_date))
    ) AS value (field, was, is_now)
    WHERE was IS DISTINCT FROM is_now
    GROUP BY known.id, shown_name
), {RECORDED}
{_SHOWN.strip()}
FROM moved AS own, {ONE_PIPELINE.strip()}
WHERE pipeline.id = own.id
""")  # noqa: S608 - made of constants


MOVE_BY = {"id": _move("id = %(id)s"), "name": _move("name = %(name)s::text")}
_MOVED = frozenset({"watermark", "next_watermark"})


class FoundPipeline(NamedTuple):
    """A pipeline as an answer shows it; with ``may_be_due`` it may be that a run is due, which this does not say."""

    id: int
    fields: Mapping[str, Any]
    may_be_due: bool


def _found(row: TupleRow | None) -> FoundPipeline | None:
    if row is None:
        return None
    fields = dict(zip((*_COLUMNS, *("status", "also", "state", "remark", "may_be_due")), row, strict=True))
    return FoundPipeline(fields["id"], fields, fields.pop("may_be_due"))


async def sync_unchanged(connection: Connection, body: PipelinePost) -> PipelineSynced | None:
    """The pipeline, if the last body was the same; its ``next_watermark`` is stored then."""
    carried = body.carried()
    asked = "next_watermark" in carried
    parameters = {"name": body.name, "fingerprint": mark_of(carried), "next_watermark": body.next_watermark}
    row = await (_SYNC_NEXT_WATERMARK if asked else _SYNC).fetch_one(connection, parameters)
    if row is None:
        return None
    pipeline_id, active, load_lineage, watermark = row
    return PipelineSynced(
        id=pipeline_id, active=active, load_lineage=load_lineage, watermark=watermark if asked else None
    )


async def find_pipeline(connection: Connection, pipeline_id: int) -> FoundPipeline | None:
    """The pipeline with that id."""
    return _found(await FIND.fetch_one(connection, {"id": pipeline_id}))


def only_moves_watermarks(body: PipelinePatch) -> bool:
    """Whether :func:`move_watermarks` can do what the body asks for."""
    changes = body.changes()
    if not changes or not changes.keys() <= _MOVED:
        return False
    return all(re.fullmatch(_PLAIN, mark) and redact(mark) == mark for mark in changes.values() if mark is not None)


async def move_watermarks(connection: Connection, body: PipelinePatch) -> FoundPipeline | None:
    """Set the watermarks that the body carries, with an entry of the audit trail; the pipeline as it is then."""
    carried = body.model_fields_set
    parameters = {
        **body.model_dump(include={"id", "name", *_MOVED}),
        **{f"sets_{name}": name in carried for name in _MOVED},
        **entry_by(),
    }
    return _found(await MOVE_BY["name" if body.id is None else "id"].fetch_one(connection, parameters))
