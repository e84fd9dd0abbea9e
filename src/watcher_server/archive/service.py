"""Retiring pipelines and addresses, and bringing them back.

A report brings its pipeline and its addresses back by itself, wherever it comes in: it clears ``archived_at`` and has
``revive_task`` do the rest, which is :func:`settle`.
"""

from collections.abc import Collection, Sequence
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, text, update

from watcher_server.audit.service import Change, record
from watcher_server.kit.errors import NotFoundError
from watcher_server.lineage.service import NO_PIPELINE, REBUILD_TASK
from watcher_server.pipelines.models import Pipeline
from watcher_server.schedules.planning import plan_new
from watcher_server.tasking.sending.outbox import enqueue
from watcher_server.tasking.wire import SCHEDULED_QUEUE


class Kind(StrEnum):
    """What can be retired; also the name of its table."""

    PIPELINE = "pipeline"
    ADDRESS = "address"


def archive(connection: Connection, kind: Kind, id_: int) -> None:
    """Take it out of every list and check. Its open incidents are resolved, and its edges leave the lineage.

    Raises:
        NotFoundError: there is none.
    """
    archive_all(connection, kind, [id_])


def archive_all(connection: Connection, kind: Kind, ids: Sequence[int]) -> None:
    """The same for several, with one statement for each step."""
    before = _set(connection, kind, ids, "archived_at = coalesce(changed.archived_at, now())")
    _leave(connection, kind, ids)
    record(connection, *(Change("archive", kind.value, row.id, row.name) for row in before if row.archived_at is None))


def restore(connection: Connection, kind: Kind, id_: int) -> None:
    """Bring it back as it was; a schedule counts from now on. Raises NotFoundError if there is none."""
    (before,) = _set(connection, kind, [id_], "archived_at = NULL")
    settle(connection, **_ids(kind, [id_]))
    if before.archived_at is not None:
        record(connection, Change("restore", kind.value, id_, before.name))


def forget(connection: Connection, kind: Kind, id_: int) -> None:
    """Have it deleted with all its history; its name is free at once, and nothing brings it back.

    Raises:
        NotFoundError: there is none.
    """
    # Its name is no name that a request can have: it would be trimmed.
    gone = (
        "archived_at = coalesce(changed.archived_at, now()), forgotten_at = now(), name = ' forgotten ' || changed.id"
    )
    fresh_url = ", ping_uuid = gen_random_uuid()" if kind is Kind.PIPELINE else ""
    (before,) = _set(connection, kind, [id_], gone + ", display_name = NULL" + fresh_url)
    _leave(connection, kind, [id_])
    record(connection, Change("forget", kind.value, id_, before.name))
    enqueue(connection, "forget_task", SCHEDULED_QUEUE, kind=kind.value, id=id_)


def _set(connection: Connection, kind: Kind, ids: Sequence[int], values: str) -> Sequence[Row[Any]]:
    """Write the values; how each was called, and since when it was archived, before that."""
    statement = f"""
        WITH before AS (
            SELECT id, coalesce(display_name, name) AS name, archived_at FROM {kind}
            WHERE id = ANY(CAST(:ids AS bigint[])) AND forgotten_at IS NULL ORDER BY id FOR NO KEY UPDATE
        )
        UPDATE {kind} AS changed SET {values}
        FROM before WHERE changed.id = before.id RETURNING before.id, before.name, before.archived_at
    """  # noqa: S608 - code
    rows = connection.execute(text(statement), {"ids": list(ids)}).all()
    missing = sorted({*ids} - {row.id for row in rows})
    if missing:
        raise NotFoundError(f"No {kind} has the id {missing[0]}.")
    return rows


def _leave(connection: Connection, kind: Kind, ids: Sequence[int]) -> None:
    if kind is Kind.PIPELINE:
        unplanned = "UPDATE pipeline SET expected_next_run = NULL WHERE id = ANY(CAST(:ids AS bigint[]))"
        connection.execute(text(unplanned), {"ids": list(ids)})
        enqueue(connection, "sweep_incidents_task", SCHEDULED_QUEUE)
    settle(connection, **_ids(kind, ids))


def _ids(kind: Kind, ids: Sequence[int]) -> dict[str, Sequence[int]]:
    return {
        "pipeline_ids": ids if kind is Kind.PIPELINE else [],
        "address_ids": ids if kind is Kind.ADDRESS else [],
    }


def settle(connection: Connection, *, pipeline_ids: Collection[int], address_ids: Collection[int]) -> int:
    """Have the edges and the schedules of these be as the archive says; how many edges left or came back."""
    parameters = {"pipeline_ids": list(pipeline_ids), "address_ids": list(address_ids)}
    moved = [tuple(row) for statement in (_LEAVE, _RETURN) for row in connection.execute(text(statement), parameters)]
    if moved:
        ends = sorted({end for edge in moved for end in edge})
        enqueue(connection, REBUILD_TASK, connected_addresses=ends, pipeline_id=NO_PIPELINE)
    unplanned = """
        SELECT id, schedule, schedule_timezone FROM pipeline
        WHERE id = ANY(CAST(:pipeline_ids AS bigint[]))
            AND archived_at IS NULL AND active AND schedule IS NOT NULL AND expected_next_run IS NULL
        ORDER BY id FOR NO KEY UPDATE
    """
    for row in connection.execute(text(unplanned), {"pipeline_ids": list(pipeline_ids)}).mappings().all():
        connection.execute(update(Pipeline).where(Pipeline.id == row["id"]).values(plan_new(dict(row))))
    return len(moved)


# The edges by the unique key of the pipeline and by one index for each direction, those in the archive likewise.
_OF_THESE = """(
    pipeline_id = ANY(CAST(:pipeline_ids AS bigint[]))
    OR source_address_id = ANY(CAST(:address_ids AS bigint[]))
    OR target_address_id = ANY(CAST(:address_ids AS bigint[]))
)"""
_IS_ARCHIVED = """(
    EXISTS (SELECT FROM pipeline WHERE id = edge.pipeline_id AND archived_at IS NOT NULL)
    OR EXISTS (
        SELECT FROM address
        WHERE id IN (edge.source_address_id, edge.target_address_id) AND archived_at IS NOT NULL
    )
)"""
_EDGE = "pipeline_id, source_address_id, target_address_id, origin, last_seen_at"
_LEAVE = f"""
WITH gone AS (
    DELETE FROM address_lineage AS edge WHERE {_OF_THESE} AND {_IS_ARCHIVED} RETURNING {_EDGE}
), kept AS (
    INSERT INTO archived_address_lineage ({_EDGE}) SELECT {_EDGE} FROM gone ON CONFLICT DO NOTHING
)
SELECT DISTINCT source_address_id, target_address_id FROM gone
"""  # noqa: S608 - of constants
_RETURN = f"""
WITH back AS (
    DELETE FROM archived_address_lineage AS edge WHERE {_OF_THESE} AND NOT {_IS_ARCHIVED} RETURNING {_EDGE}
), added AS (
    INSERT INTO address_lineage ({_EDGE}) SELECT {_EDGE} FROM back ORDER BY 1, 2, 3 ON CONFLICT DO NOTHING
)
SELECT DISTINCT source_address_id, target_address_id FROM back
"""  # noqa: S608 - of constants
