"""An execution with everything below it, as JSON."""

from collections import defaultdict

from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.database.metadata import MOST_BYTES_PER_ANSWER, most_bytes_shown
from watcher_server.database.statements import numbered
from watcher_server.executions.clocks import SHOWN_COLUMNS
from watcher_server.kit.errors import NotFoundError

# Of a larger tree, an answer holds those that are nearest to its top.
MOST_EXECUTIONS = 20_000


def _facts(metadata: str) -> str:
    """A row as JSON, without what is below it; PostgreSQL writes it."""
    return f"""json_build_object(
    'id', id, 'parent_id', parent_id, 'pipeline_id', pipeline_id,
    'start_date', {SHOWN_COLUMNS["start_date"]}, 'end_date', {SHOWN_COLUMNS["end_date"]},
    'duration_seconds', duration_seconds, 'duration_ms', {SHOWN_COLUMNS["duration_ms"]},
    'clock_skew_seconds', {SHOWN_COLUMNS["clock_skew_seconds"]},
    'outcome', outcome, 'backfill', backfill, 'nothing_to_do', nothing_to_do,
    'completed_successfully', completed_successfully,
    'inserts', inserts, 'updates', updates, 'soft_deletes', soft_deletes, 'total_rows', total_rows,
    'watermark', watermark, 'next_watermark', next_watermark,
    'execution_metadata', {metadata}, 'anomaly_flags', anomaly_flags, 'throughput', throughput
)::text"""


# By parent_id, not by the closure: the tree is whole even while the closure is still being written. UNION ALL is safe,
# for a parent always exists before its child, and goes down level by level until the limit is reached.
# Which metadata it shows is as in database/metadata.py.
_SHOWN_METADATA = """CASE
        WHEN id <> :id AND (bytes > :most_bytes_shown OR bytes_so_far > :most_bytes)
        THEN jsonb_build_object('truncated', true, 'bytes', bytes)
        ELSE execution_metadata END"""
_TREE = f"""
WITH RECURSIVE tree AS (
    SELECT pipeline_execution.* FROM pipeline_execution WHERE id = :id
    UNION ALL
    SELECT child.* FROM tree JOIN pipeline_execution AS child ON child.parent_id = tree.id
), sized AS MATERIALIZED (
    SELECT *, octet_length(execution_metadata::text) AS bytes, row_number() OVER () AS place
    FROM tree LIMIT :most + 1
), summed AS (
    SELECT *, sum(bytes) FILTER (WHERE bytes <= :most_bytes_shown) OVER (ORDER BY id) AS bytes_so_far FROM sized
)
SELECT id, parent_id, (SELECT count(*) FROM sized) > :most AS is_truncated, {_facts(_SHOWN_METADATA)}
FROM summed WHERE place <= :most ORDER BY id
"""  # noqa: S608 - made of constants
# Whether anything is below it, by ix_pipeline_execution_parent_id.
_ONE = numbered(f"""
SELECT {_facts("execution_metadata")},
    EXISTS (SELECT FROM pipeline_execution AS child WHERE child.parent_id = pipeline_execution.id)
FROM pipeline_execution WHERE id = %(id)s
""")  # noqa: S608 - made of constants


async def read_childless(connection: AsyncConnection[TupleRow], execution_id: int) -> bytes | None:
    """The execution as JSON, if it exists and nothing is below it; otherwise :func:`read_tree` says more."""
    row = await _ONE.fetch_one(connection, {"id": execution_id})
    if row is None or row[1]:
        return None
    return "".join(_nest(execution_id, {execution_id: row[0]}, {execution_id: []}, "]}")).encode()


async def read_tree(session: AsyncSession, execution_id: int) -> bytes:
    """The execution as JSON, its descendants nested in ``child_executions``, by id.

    Of more than ``MOST_EXECUTIONS``, those nearest to it; ``truncated`` says so. The execution's own metadata is whole.
    Raises NotFoundError if there is no such execution.
    """
    parameters = {
        "id": execution_id,
        "most": MOST_EXECUTIONS,
        "most_bytes": MOST_BYTES_PER_ANSWER,
        "most_bytes_shown": most_bytes_shown(),
    }
    rows = (await session.execute(text(_TREE), parameters)).all()
    if not rows:
        raise NotFoundError(f"No pipeline execution has the id {execution_id}.")
    children: dict[int | None, list[int]] = defaultdict(list)
    facts: dict[int, str] = {}
    for id_, parent_id, _, as_json in rows:
        facts[id_] = as_json
        if id_ != execution_id:
            children[parent_id].append(id_)
    end = '], "truncated" : true}' if rows[0].is_truncated else "]}"
    return "".join(_nest(execution_id, facts, children, end)).encode()


def _nest(root: int, facts: dict[int, str], children: dict[int | None, list[int]], end: str) -> list[str]:
    """The pieces of the nested JSON text, which ends with ``end``.

    With a stack of its own: a chain of runs may be deeper than a recursion in Python, or in a JSON encoder, can go.
    """
    pieces: list[str] = []
    pending: list[int | str] = [root]
    while pending:
        step = pending.pop()
        if isinstance(step, str):
            pieces.append(step)
            continue
        pieces.append(facts[step].removesuffix("}") + ', "child_executions" : [')
        pending.append(end if step == root else "]}")
        for position, child in enumerate(reversed(children[step])):
            if position:
                pending.append(",")
            pending.append(child)
    return pieces
