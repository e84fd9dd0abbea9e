"""Walking the graph from a source, as rows of the closure, and writing the rows that differ from those stored."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Connection, text

if TYPE_CHECKING:
    import psycopg

# Rows compared at a time: what bounds the memory of a rebuild, whatever the size of the closure.
_BATCH_ROWS = 20_000

# The targets of each source, by id; no self edges.
Graph = Mapping[int, Sequence[int]]
# A source and what it reaches, as lines of COPY's text format.
Walk = tuple[int, list[str]]
Pair = tuple[str, str]
Row = TypeVar("Row", str, bytes)


@dataclass
class ClosureChange:
    """What a rebuild did: how many sources it walked from, and how many rows it wrote."""

    sources: int = 0
    rows_inserted: int = 0
    rows_updated: int = 0
    rows_deleted: int = 0


def walk(graph: Graph, source: int, wanted: Set[int] | None = None) -> list[str]:
    """All that the source reaches, nearest first, itself included; with ``wanted`` only what is of these.

    Of the shortest paths to an address it is the first in order of ids. The text of a path is that of the one before
    and one id more, where a list would be written out anew for every row.
    """
    paths = {source: f"{source}"}
    lines = [f"{source}\t{source}\t0\t{{{source}}}\n"] if wanted is None or source in wanted else []
    frontier, depth = [source], 0
    while frontier:
        reached, depth = [], depth + 1
        for address in frontier:
            for target in graph.get(address, ()):
                if target not in paths:
                    path = paths[target] = f"{paths[address]},{target}"
                    reached.append(target)
                    if wanted is None or target in wanted:
                        lines.append(f"{source}\t{target}\t{depth}\t{{{path}}}\n")
        frontier = reached
    return lines


# A row of COPY's binary format, each field behind its length in bytes: source, target, depth, and the path with its
# dimensions, flags, type (20: bigint), length and lower bound. The elements of the path follow.
_ROW = Struct(">h iq iq ii iiiiii")
_ELEMENT = Struct(">iq")
_PATH_HEADER_BYTES = 20
_COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_TRAILER = b"\xff\xff"


def walk_further(graph: Graph, source: int) -> list[bytes]:
    """As :func:`walk`, what lies more than one hop away, in binary: PostgreSQL reads long paths faster so."""
    paths = {source: _ELEMENT.pack(8, source)}
    rows = []
    frontier, depth = [source], 0
    while frontier:
        reached, depth = [], depth + 1
        path_bytes = _PATH_HEADER_BYTES + (depth + 1) * _ELEMENT.size
        for address in frontier:
            for target in graph.get(address, ()):
                if target not in paths:
                    path = paths[target] = paths[address] + _ELEMENT.pack(8, target)
                    reached.append(target)
                    if depth > 1:
                        row = _ROW.pack(4, 8, source, 8, target, 4, depth, path_bytes, 1, 0, 20, depth + 1, 1)
                        rows.append(row + path)
        frontier = reached
    return rows


# By the primary key.
_BARE_SOURCES = """
SELECT id FROM unnest(CAST(:sources AS bigint[])) AS source (id)
WHERE NOT EXISTS (SELECT FROM address_lineage_closure WHERE source_address_id = id AND depth > 1)
"""


def write_walks(
    connection: Connection,
    graph: Graph,
    sources: Sequence[int],
    change: ClosureChange,
    *,
    most_rows: int,
    report: Callable[[int], None],
) -> list[int]:
    """Bring the rows of the sources up to date, until so many rows were walked; which sources these were.

    Each source has its rows of depths 0 and 1 already. Of one that has no others, all that lies further is new, and is
    sent while the walks go on; the rows of the rest are compared with the stored ones.
    """
    bare = set(connection.scalars(text(_BARE_SOURCES), {"sources": list(sources)}))
    budget = _Budget(most_rows, report)
    _add_further(connection, graph, budget.take(source for source in sources if source in bare), budget, change)
    stored = budget.take(source for source in sources if source not in bare)
    _mend(connection, ((source, budget.spend(walk(graph, source))) for source in stored), change)
    change.sources += len(budget.walked)
    return budget.walked


class _Budget:
    """How many rows may still be walked, and which sources have been."""

    def __init__(self, rows: int, report: Callable[[int], None]) -> None:
        self.rows = rows
        self.walked: list[int] = []
        self._report = report

    def take(self, sources: Iterable[int]) -> Iterator[int]:
        """The sources, until the rows are used up."""
        for source in sources:
            if self.rows <= 0:
                return
            yield source
            self.walked.append(source)
            self._report(len(self.walked))

    def spend(self, rows: list[Row]) -> list[Row]:
        """The rows, once they are counted; one more, so that a source without rows counts too."""
        self.rows -= len(rows) + 1
        return rows


def write_narrow_walks(
    connection: Connection, graph: Graph, sources: Iterable[int], wanted: Set[int], change: ClosureChange
) -> None:
    """Bring the sources' rows of the wanted targets up to date, where no others have changed."""
    on_the_way = _narrow(graph, wanted)
    change.sources += _mend(
        connection, ((source, walk(on_the_way, source, wanted)) for source in sources), change, wanted
    )


def reach_of(graph: Graph, sources: Iterable[int]) -> set[int]:
    """What any of the sources reaches, themselves included."""
    reached = set(sources)
    frontier = list(reached)
    while frontier:
        new = {target for address in frontier for target in graph.get(address, ())} - reached
        reached |= new
        frontier = list(new)
    return reached


def _narrow(graph: Graph, wanted: Set[int]) -> Graph:
    """The edges of all paths to the wanted targets."""
    upside_down: dict[int, list[int]] = {}
    for source, targets in graph.items():
        for target in targets:
            upside_down.setdefault(target, []).append(source)
    kept = reach_of(upside_down, wanted)
    return {source: [target for target in targets if target in kept] for source, targets in graph.items()}


# Rebuilds take turns, and who creates an address writes its depth 0 only: COPY meets no conflict.
_COPY_IN = """
COPY address_lineage_closure (source_address_id, target_address_id, depth, lineage_path) FROM STDIN
"""
_COPY_BINARY_IN = f"{_COPY_IN} (FORMAT binary)"


def _add_further(
    connection: Connection, graph: Graph, sources: Iterable[int], budget: "_Budget", change: ClosureChange
) -> None:
    with _raw(connection).cursor() as cursor, cursor.copy(_COPY_BINARY_IN) as copy:
        copy.write(_COPY_HEADER)
        for source in sources:
            rows = budget.spend(walk_further(graph, source))
            copy.write(b"".join(rows))
            change.rows_inserted += len(rows)
        copy.write(_COPY_TRAILER)


# By the primary key. A COPY takes no parameters on the wire: psycopg writes them into the statement, quoted.
_COPY_OUT = """
COPY (
    SELECT source_address_id, target_address_id, depth, lineage_path
    FROM address_lineage_closure
    WHERE source_address_id = ANY (%(sources)s::bigint[])
        AND (%(targets)s::bigint[] IS NULL OR target_address_id = ANY (%(targets)s::bigint[]))
) TO STDOUT
"""


def _mend(connection: Connection, walks: Iterable[Walk], change: ClosureChange, wanted: Set[int] | None = None) -> int:
    """Write what differs from the stored rows, of the wanted targets only where such are given; of how many sources."""
    targets = None if wanted is None else sorted(wanted)
    number = 0
    for sources, fresh in _batches(walks):
        parameters = {"sources": sources, "targets": targets}
        with _raw(connection).cursor() as cursor, cursor.copy(_COPY_OUT, parameters) as copy:
            stored = set(b"".join(copy).decode().splitlines(keepends=True))
        _write_differences(connection, fresh - stored, stored - fresh, change)
        number += len(sources)
    return number


def _batches(walks: Iterable[Walk]) -> Iterator[tuple[list[int], set[str]]]:
    sources: list[int] = []
    fresh: set[str] = set()
    for source, lines in walks:
        sources.append(source)
        fresh.update(lines)
        if len(fresh) >= _BATCH_ROWS:
            yield sources, fresh
            sources, fresh = [], set()
    if sources:
        yield sources, fresh


_UPDATE_ROWS = """
UPDATE address_lineage_closure SET
    depth = cardinality(fresh.path::bigint[]) - 1,
    lineage_path = fresh.path::bigint[]
FROM unnest(CAST(:sources AS bigint[]), CAST(:targets AS bigint[]), CAST(:paths AS text[]))
    AS fresh (source, target, path)
WHERE source_address_id = fresh.source AND target_address_id = fresh.target
"""

_DELETE_ROWS = """
DELETE FROM address_lineage_closure
USING unnest(CAST(:sources AS bigint[]), CAST(:targets AS bigint[])) AS gone (source, target)
WHERE source_address_id = gone.source AND target_address_id = gone.target
"""


def _write_differences(connection: Connection, fresh: set[str], stale: set[str], change: ClosureChange) -> None:
    new = {_pair(line): line for line in fresh}
    old = {_pair(line) for line in stale}
    gone, moved, added = sorted(old - new.keys()), sorted(old & new.keys()), sorted(new.keys() - old)
    if gone:
        connection.execute(text(_DELETE_ROWS), _columns(gone))
    if moved:
        paths = [new[pair].rpartition("\t")[2] for pair in moved]
        connection.execute(text(_UPDATE_ROWS), {**_columns(moved), "paths": paths})
    if added:
        with _raw(connection).cursor() as cursor, cursor.copy(_COPY_IN) as copy:
            copy.write("".join(new[pair] for pair in added))
    change.rows_deleted += len(gone)
    change.rows_updated += len(moved)
    change.rows_inserted += len(added)


def _pair(line: str) -> Pair:
    source, target, _ = line.split("\t", 2)
    return source, target


def _columns(pairs: Iterable[Pair]) -> dict[str, Any]:
    sources, targets = zip(*pairs, strict=True)
    return {"sources": list(sources), "targets": list(targets)}


def _raw(connection: Connection) -> "psycopg.Connection[Any]":
    raw: psycopg.Connection[Any] = connection.connection.driver_connection  # type: ignore[assignment]
    return raw
