"""Walking the graph from a source, as rows of the closure, and writing the rows that differ from those stored."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from struct import Struct
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, text

from watcher_server.lineage.traversal import Graph, reverse, traverse

if TYPE_CHECKING:
    import psycopg

# Rows compared at a time. This bounds the memory of a rebuild, whatever the size of the closure.
_BATCH_ROWS = 20_000
# Bytes of paths that are brought into the order of targets at a time: those of about 10,000 rows, unless they are long.
_BATCH_BYTES = 1_000_000

# A source, and its rows of the closure as lines of COPY's text format.
Walk = tuple[int, list[str]]


@dataclass
class ClosureChange:
    """What a rebuild did: how many sources it walked from, and how many rows it wrote."""

    sources: int = 0
    rows_inserted: int = 0
    rows_updated: int = 0
    rows_deleted: int = 0

    @property
    def rows(self) -> int:
        """How many rows came or went."""
        return self.rows_inserted + self.rows_deleted

    def add(self, other: "ClosureChange") -> None:
        """Count in what another walker did."""
        self.sources += other.sources
        self.rows_inserted += other.rows_inserted
        self.rows_updated += other.rows_updated
        self.rows_deleted += other.rows_deleted


def walk(graph: Graph, source: int, wanted: Set[int] | None = None) -> Walk:
    """The rows of all that the source reaches, nearest first, itself included; with ``wanted`` only the rows of these.

    The text of a path is the text of the path before it and one id more, so that no path is written out anew.
    """
    reached = {source: (0, f"{source}")}
    lines = []
    for address, before in traverse(graph, [source]).items():
        if address != source:
            depth, path = reached[before]
            reached[address] = depth + 1, f"{path},{address}"
        if wanted is None or address in wanted:
            depth, path = reached[address]
            lines.append(f"{source}\t{address}\t{depth}\t{{{path}}}\n")
    return source, lines


# PostgreSQL reads long paths in COPY's binary format in a third of the time. A row there is the number of its fields
# and each field behind its length in bytes: source, target, depth, and the path. The array of the path begins with its
# dimensions, flags, type (20: bigint), length and lower bound. An id is written alike in a field and in a path.
_BINARY_START, _BINARY_END = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
_FOUR_FIELDS = Struct(">h").pack(4)
_ID = Struct(">iq")
_DEPTH_AND_ARRAY = Struct(">ii iiiiii")


class _Ids(dict[int, bytes]):
    """Each id as COPY's binary format has it, made once for all the rows that it is in."""

    def __missing__(self, id_: int) -> bytes:
        written = self[id_] = _ID.pack(8, id_)
        return written


@dataclass
class DeepRows:
    """Rows of all that lies more than one edge from some sources, in COPY's binary format.

    They leave in the order of targets. One source after the other, each row would go to another page of the index of
    targets, and PostgreSQL would spend half of its time on finding these.
    """

    ids: _Ids = field(default_factory=_Ids)
    by_target: defaultdict[int, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    size: int = 0

    def walk(self, graph: Graph, source: int) -> int:
        """Add the rows of a source, which comes after the others by id; how many there are."""
        ids, by_target, first = self.ids, self.by_target, self.ids[source]
        head = _FOUR_FIELDS + first
        seen = {source}
        last = [(source, first)]
        depth = number = 0
        while last:
            depth += 1
            reached = []
            for here, path in last:
                for there in graph.get(here, ()):
                    if there not in seen:
                        seen.add(there)
                        reached.append((there, path + ids[there]))
            if depth > 1:
                length = len(first) * (depth + 1)
                array = _DEPTH_AND_ARRAY.pack(4, depth, 20 + length, 1, 0, 20, depth + 1, 1)
                for there, path in reached:
                    by_target[there].append(head + ids[there] + array + path)
                number += len(reached)
                self.size += len(reached) * length
            last = reached
        return number

    def take(self) -> bytes:
        """All rows, which are forgotten here."""
        taken = b"".join(chain.from_iterable(self.by_target[target] for target in sorted(self.by_target)))
        self.by_target.clear()
        self.size = 0
        return taken


@dataclass
class Budget:
    """How many rows one transaction may still walk, and from which sources it has walked so far."""

    rows_left: int
    report: Callable[[int], None]
    walked: list[int] = field(default_factory=list)

    def take(self, sources: Iterable[int]) -> Iterator[int]:
        """The sources, until the rows are used up; the caller spends the rows of each."""
        for source in sources:
            if self.rows_left <= 0:
                return
            yield source
            self.rows_left -= 1
            self.walked.append(source)
            self.report(len(self.walked))


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
    budget: Budget,
) -> list[int]:
    """Bring the rows of the sources up to date until the budget is used up; the sources that were walked from.

    Each source has its rows of depths 0 and 1 already. A source with no others gets all deeper rows by COPY, while the
    walks go on. The rows of the remaining sources are compared with the stored ones.
    """
    bare = set(connection.scalars(text(_BARE_SOURCES), {"sources": list(sources)}))
    deep, before = DeepRows(), len(budget.walked)
    with _copy(connection, f"{_COPY_IN} (FORMAT binary)") as copy:
        copy.write(_BINARY_START)
        for source in budget.take(source for source in sources if source in bare):
            number = deep.walk(graph, source)
            budget.rows_left -= number
            change.rows_inserted += number
            if deep.size >= _BATCH_BYTES:
                copy.write(deep.take())
        copy.write(deep.take() + _BINARY_END)

    def walks_to_compare() -> Iterator[Walk]:
        for source in budget.take(source for source in sources if source not in bare):
            _, lines = source_walk = walk(graph, source)
            budget.rows_left -= len(lines)
            yield source_walk

    _mend(connection, walks_to_compare(), change)
    walked = budget.walked[before:]
    change.sources += len(walked)
    return walked


def write_narrow_walks(
    connection: Connection, graph: Graph, sources: Sequence[int], wanted: Set[int], change: ClosureChange
) -> None:
    """Bring the sources' rows of the wanted targets up to date, where no others have changed."""
    leading = traverse(reverse(graph), wanted)
    narrow = {source: [target for target in targets if target in leading] for source, targets in graph.items()}
    _mend(connection, (walk(narrow, source, wanted) for source in sources), change, wanted)
    change.sources += len(sources)


# One transaction at a time walks from a source, and the request that creates an address writes only its row of depth 0:
# COPY meets no conflict.
_COPY_IN = """
COPY address_lineage_closure (source_address_id, target_address_id, depth, lineage_path) FROM STDIN
"""

# By the primary key. A COPY takes no parameters on the wire: psycopg writes them into the statement, quoted.
_COPY_OUT = """
COPY (
    SELECT source_address_id, target_address_id, depth, lineage_path
    FROM address_lineage_closure
    WHERE source_address_id = ANY (%(sources)s::bigint[])
        AND (%(targets)s::bigint[] IS NULL OR target_address_id = ANY (%(targets)s::bigint[]))
) TO STDOUT
"""


def _mend(connection: Connection, walks: Iterable[Walk], change: ClosureChange, wanted: Set[int] | None = None) -> None:
    """Write what differs from the stored rows; where targets are wanted, of their rows only."""
    targets = None if wanted is None else sorted(wanted)
    for sources, fresh in _batches(walks):
        with _copy(connection, _COPY_OUT, {"sources": sources, "targets": targets}) as copy:
            stored = set(b"".join(copy).decode().splitlines(keepends=True))
        _write_differences(connection, fresh - stored, stored - fresh, change)


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


_DELETE_ROWS = """
DELETE FROM address_lineage_closure
USING unnest(CAST(:sources AS bigint[]), CAST(:targets AS bigint[])) AS stale (source, target)
WHERE source_address_id = stale.source AND target_address_id = stale.target
"""


def _write_differences(connection: Connection, fresh: set[str], stale: set[str], change: ClosureChange) -> None:
    """Replace the stale rows by the fresh ones; a pair in both counts as updated."""
    if stale:
        pairs = sorted(line.split("\t", 2)[:2] for line in stale)
        sources, targets = zip(*pairs, strict=True)
        connection.execute(text(_DELETE_ROWS), {"sources": list(sources), "targets": list(targets)})
    if fresh:
        with _copy(connection, _COPY_IN) as copy:
            copy.write("".join(sorted(fresh)))
    moved = len({line.rsplit("\t", 2)[0] for line in fresh} & {line.rsplit("\t", 2)[0] for line in stale})
    change.rows_deleted += len(stale) - moved
    change.rows_updated += moved
    change.rows_inserted += len(fresh) - moved


@contextmanager
def _copy(connection: Connection, statement: str, parameters: dict[str, Any] | None = None) -> Iterator["psycopg.Copy"]:
    raw: psycopg.Connection[Any] = connection.connection.driver_connection  # type: ignore[assignment]
    with raw.cursor() as cursor, cursor.copy(statement, parameters) as copy:
        yield copy
