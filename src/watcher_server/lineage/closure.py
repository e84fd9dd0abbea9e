"""The closure of the address graph: which address feeds which, at any distance.

The rows of depth 1 are the edges that the closure knows, and every other row follows from these. A rebuild compares
them with the edges of the pipelines, finds the sources whose rows can change by the difference, and walks from these.
Sources that it does not reach within one transaction become rows of ``address_lineage_pending``, and the next
transactions of any rebuild go on with them, two at once. So no transaction is long, committed work is never lost, and
any number of rebuilds, in any order, end in the same rows.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection, text

from watcher_server.database.locks import REBUILD_LOCK
from watcher_server.lineage.traversal import Graph, traverse
from watcher_server.lineage.walk import Budget, ClosureChange, write_narrow_walks, write_walks

# Rows that one transaction walks: a few seconds of work.
PART_ROWS = 500_000
# Rows that the first transaction of a rebuild walks, which others wait for. Two walkers share the rest.
_FIRST_PART_ROWS = 100_000
# With more changed edges than this, walking from everything upstream is quicker than tracing what each edge changes.
_MOST_EDGES_TRACED = 1_000
# With no more changed targets than this, only the paths to what they lead to are walked.
_MOST_ENDS_NARROWED = 100
# Sources that a walker claims at first; then as many as made this number of rows, but not more than the last. While it
# walks from them, they are all that it withholds from others; each claim costs five statements.
_SOURCES_CLAIMED_FIRST, _ROWS_OF_A_CLAIM, _MOST_SOURCES_CLAIMED = 100, 50_000, 1_000
# After this number of rows came or went, the planner's statistics of the table are wrong.
_ROWS_TO_ANALYZE = 50_000

# Takes the name of the step and its progress, from 0 to 100.
Report = Callable[[str, int], None]


class _Edges(NamedTuple):
    sources: list[int]
    targets: list[int]

    def parameters(self) -> dict[str, list[int]]:
        return {"sources": self.sources, "targets": self.targets}


def rebuild_part(
    connection: Connection,
    connected_addresses: Sequence[int],
    change: ClosureChange,
    report: Report = lambda _step, _progress: None,
    *,
    everything: bool = False,
    most_rows: int = PART_ROWS,
) -> int:
    """Bring the closure up to date around these addresses, as far as one transaction goes; how many sources remain.

    Remaining sources are stored: call it again in another transaction, with no addresses, until none remains. Each call
    also goes on with sources that other calls left over. The rows that it wrote are added to ``change``.

    Each connected pair has one row, with the first in order of ids among its shortest paths. Cycles end, and an address
    reaches itself at depth 0 only. Rows that are right already are not written.

    The addresses are ends of edges that came or went; ids of no address are ignored. With ``everything`` it walks from
    all of them, also where no edge has changed, which mends rows that something else broke. Once it has walked
    ``most_rows`` rows, or 100,000, it stops.
    """
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": REBUILD_LOCK})
    connected = sorted(set(connected_addresses))
    change.rows_inserted += connection.execute(text(_ADD_OWN_ROWS), {"connected": connected}).rowcount
    added, removed = _read_changed_edges(connection, connected)
    pending = set(connection.scalars(text(_PENDING), {"wanted": connected if everything else []}))
    affected = _find_affected(connection, added, removed)
    _write_edges(connection, added, removed, change)
    sources = pending | affected
    if not sources:
        _analyze_if_much_changed(connection, change)
        return 0
    ends = {*added.targets, *removed.targets}
    graph = _read_graph(connection, sources | ends)
    wanted = traverse(graph, ends).keys()
    is_narrow = len(ends) <= _MOST_ENDS_NARROWED and len(sources) * len(wanted) <= most_rows
    if is_narrow and not pending:
        # A row can differ only if its target is one that the changed edges lead to.
        write_narrow_walks(connection, graph, sorted(sources), wanted, change)
        return 0
    before, total = change.sources, change.sources + len(sources)

    def report_walked(walked: int) -> None:
        done = before + walked
        report(f"Walked from {done:,} of {total:,} addresses", 100 * done // total)

    budget = Budget(min(most_rows, _FIRST_PART_ROWS), report_walked)
    walked = write_walks(connection, graph, sorted(sources), change, budget)
    remaining = sources.difference(walked)
    if pending or remaining:
        connection.execute(text(_FORGET_WALKED), {"walked": walked})
        connection.execute(text(_REMEMBER_REMAINING), {"remaining": sorted(remaining)})
    if not remaining:
        _analyze_if_much_changed(connection, change)
    return len(remaining)


# Rows that another walker has locked are its own. A walker that dies leaves its rows unlocked.
_CLAIM = """
SELECT source_address_id FROM address_lineage_pending ORDER BY source_address_id LIMIT :most FOR UPDATE SKIP LOCKED
"""
_ALL_PENDING = "SELECT source_address_id FROM address_lineage_pending"


def walk_remaining(
    connection: Connection, change: ClosureChange, report: Callable[[int], None], *, most_rows: int = PART_ROWS
) -> bool:
    """Walk from sources that a rebuild left over and no other transaction walks from; whether there were any.

    Any number of transactions do so at once: each writes the rows of its own sources only, from the edges that the
    closure knows. These change in :func:`rebuild_part` alone, which waits for all of them, as they wait for it.
    """
    connection.execute(text("SELECT pg_advisory_xact_lock_shared(:key)"), {"key": REBUILD_LOCK})
    graph: Graph | None = None
    budget, most = Budget(most_rows, report), _SOURCES_CLAIMED_FIRST
    while (before := budget.rows_left) > 0:
        sources = connection.scalars(text(_CLAIM), {"most": most}).all()
        if not sources:
            break
        if graph is None:
            graph = _read_graph(connection, set(connection.scalars(text(_ALL_PENDING))))
        walked = write_walks(connection, graph, sources, change, budget)
        connection.execute(text(_FORGET_WALKED), {"walked": walked})
        wanted = _ROWS_OF_A_CLAIM * len(walked) // (before - budget.rows_left)
        most = min(max(1, wanted), _MOST_SOURCES_CLAIMED)
    return bool(budget.walked)


# By the primary keys of both.
_ADD_OWN_ROWS = """
INSERT INTO address_lineage_closure (source_address_id, target_address_id, depth, lineage_path)
SELECT id, id, 0, ARRAY[id]
FROM address JOIN unnest(CAST(:connected AS bigint[])) AS connected (id) USING (id)
WHERE NOT EXISTS (SELECT FROM address_lineage_closure WHERE source_address_id = id AND target_address_id = id)
ORDER BY id
ON CONFLICT DO NOTHING
"""

# Edges that leave or reach the addresses in connected: as pipelines have them now by ix_address_lineage_downstream and
# _upstream, as the closure has them by ix_address_lineage_closure_edge_downstream and _upstream. One statement sees
# both as of one moment.
LOADED_AND_KNOWN: Final = """
loaded (source, target) AS (
    SELECT source_address_id, target_address_id
    FROM address_lineage JOIN connected ON source_address_id = connected.id WHERE source_address_id <> target_address_id
    UNION
    SELECT source_address_id, target_address_id
    FROM address_lineage JOIN connected ON target_address_id = connected.id WHERE source_address_id <> target_address_id
), known (source, target) AS (
    SELECT source_address_id, target_address_id
    FROM address_lineage_closure JOIN connected ON source_address_id = connected.id WHERE depth = 1
    UNION
    SELECT source_address_id, target_address_id
    FROM address_lineage_closure JOIN connected ON target_address_id = connected.id WHERE depth = 1
)
"""

_CHANGED_EDGES = f"""
WITH connected (id) AS MATERIALIZED (
    SELECT unnest(CAST(:connected AS bigint[]))
), {LOADED_AND_KNOWN}
SELECT true AS is_new, source, target FROM (TABLE loaded EXCEPT TABLE known) AS added
UNION ALL
SELECT false, source, target FROM (TABLE known EXCEPT TABLE loaded) AS removed
"""  # noqa: S608 - a constant


def _read_changed_edges(connection: Connection, connected: list[int]) -> tuple[_Edges, _Edges]:
    added, removed = _Edges([], []), _Edges([], [])
    for is_new, source, target in connection.execute(text(_CHANGED_EDGES), {"connected": connected}):
        edges = added if is_new else removed
        edges.sources.append(source)
        edges.targets.append(target)
    return added, removed


_PENDING = """
SELECT source_address_id FROM address_lineage_pending
UNION
SELECT id FROM address JOIN unnest(CAST(:wanted AS bigint[])) AS wanted (id) USING (id)
"""

_FORGET_WALKED = "DELETE FROM address_lineage_pending WHERE source_address_id = ANY (CAST(:walked AS bigint[]))"

_REMEMBER_REMAINING = """
INSERT INTO address_lineage_pending (source_address_id) SELECT unnest(CAST(:remaining AS bigint[]))
ON CONFLICT DO NOTHING
"""


# Until autovacuum runs, the planner would search the row of a pair among all rows of its target, and one changed edge
# took 15 s in place of 0.2 s. No statement searches by path, and statistics of arrays take long.
_ANALYZE = "ANALYZE address_lineage_closure (source_address_id, target_address_id, depth)"


def _analyze_if_much_changed(connection: Connection, change: ClosureChange) -> None:
    if change.rows >= _ROWS_TO_ANALYZE:
        connection.execute(text(_ANALYZE))


# Every part of a path of the closure is a path of the closure: a removed edge touches the rows of those sources whose
# path to the edge's target ends with that edge. By ix_address_lineage_closure_target_address_id.
_THROUGH_REMOVED = """
SELECT DISTINCT source_address_id
FROM unnest(CAST(:sources AS bigint[]), CAST(:targets AS bigint[])) AS removed (source, target)
JOIN address_lineage_closure ON target_address_id = removed.target AND lineage_path[depth] = removed.source
"""

# In the same way, an added edge touches those whose path to the edge's source makes, with the edge, a better path to
# its target than they have. By ix_address_lineage_closure_target_address_id and the primary key.
_BETTER_THROUGH_ADDED = """
SELECT DISTINCT before.source_address_id
FROM unnest(CAST(:sources AS bigint[]), CAST(:targets AS bigint[])) AS added (source, target)
JOIN address_lineage_closure AS before ON before.target_address_id = added.source
LEFT JOIN address_lineage_closure AS stored
    ON stored.source_address_id = before.source_address_id AND stored.target_address_id = added.target
WHERE stored.depth IS NULL
    OR (before.depth + 1, before.lineage_path || added.target) < (stored.depth, stored.lineage_path)
"""

# By ix_address_lineage_closure_target_address_id.
_UPSTREAM = """
SELECT DISTINCT source_address_id
FROM unnest(CAST(:ends AS bigint[])) AS wanted (id) JOIN address_lineage_closure ON target_address_id = id
"""


def _find_affected(connection: Connection, added: _Edges, removed: _Edges) -> set[int]:
    """The sources with rows that change when the edges are added and removed; with many edges, also other sources."""
    if len(added.sources) + len(removed.sources) > _MOST_EDGES_TRACED:
        ends = sorted({*added.sources, *removed.targets})
        return set(connection.scalars(text(_UPSTREAM), {"ends": ends}))
    through = connection.scalars(text(_THROUGH_REMOVED), removed.parameters()).all()
    better = connection.scalars(text(_BETTER_THROUGH_ADDED), added.parameters()).all()
    return {*through, *better}


_REMOVE_EDGES = """
DELETE FROM address_lineage_closure
USING unnest(CAST(:sources AS bigint[]), CAST(:targets AS bigint[])) AS removed (source, target)
WHERE source_address_id = removed.source AND target_address_id = removed.target
"""

_SHORTEN_TO_EDGES = """
UPDATE address_lineage_closure SET depth = 1, lineage_path = ARRAY[added.source, added.target]
FROM unnest(CAST(:sources AS bigint[]), CAST(:targets AS bigint[])) AS added (source, target)
WHERE source_address_id = added.source AND target_address_id = added.target
"""

_ADD_EDGES = """
INSERT INTO address_lineage_closure (source_address_id, target_address_id, depth, lineage_path)
SELECT added.source, added.target, 1, ARRAY[added.source, added.target]
FROM unnest(CAST(:sources AS bigint[]), CAST(:targets AS bigint[])) AS added (source, target)
WHERE NOT EXISTS (
    SELECT FROM address_lineage_closure WHERE source_address_id = added.source AND target_address_id = added.target
)
ORDER BY added.source, added.target
"""


def _write_edges(connection: Connection, added: _Edges, removed: _Edges, change: ClosureChange) -> None:
    if removed.sources:
        change.rows_deleted += connection.execute(text(_REMOVE_EDGES), removed.parameters()).rowcount
    if added.sources:
        change.rows_updated += connection.execute(text(_SHORTEN_TO_EDGES), added.parameters()).rowcount
        change.rows_inserted += connection.execute(text(_ADD_EDGES), added.parameters()).rowcount


# The closure's edges below the sources, by ix_address_lineage_closure_edge_downstream.
_EDGES_BELOW = """
WITH RECURSIVE reached (id) AS (
    SELECT unnest(CAST(:sources AS bigint[]))
    UNION
    SELECT target_address_id
    FROM address_lineage_closure JOIN reached ON source_address_id = reached.id WHERE depth = 1
)
SELECT source_address_id, target_address_id
FROM address_lineage_closure JOIN reached ON source_address_id = reached.id WHERE depth = 1
ORDER BY source_address_id, target_address_id
"""


def _read_graph(connection: Connection, sources: set[int]) -> Graph:
    graph: dict[int, list[int]] = {}
    for source, target in connection.execute(text(_EDGES_BELOW), {"sources": sorted(sources)}):
        graph.setdefault(source, []).append(target)
    return graph
