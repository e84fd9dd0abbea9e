"""Lineage: how long the closure takes from nothing and for one changed edge, and how soon pages around it are read.

The graphs are a chain of 200 addresses and layered ones of 10,000 with 30,000 edges or so, each address feeding random
ones of the next layer, near its own position, as subject areas of a warehouse do, or anywhere. ``--dense`` adds ten
layers whose edges lead anywhere: 8.6 million connected pairs. Each address that is written has a pipeline of its own,
with twenty runs.
"""

import argparse
import multiprocessing
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import httpx
import psycopg
from rich.console import Console
from rich.table import Table

from bench.engines import cpu_seconds, engines, settle, watcher_api
from bench.load import milliseconds_of
from tests.support.live import free_port

Edge = tuple[int, int]
SEED = 4
CHANGED_EDGES = 5
RUNS = 20
FROM_NOTHING_AIM = 10.0
ONE_EDGE_AIM = 0.3
PAGE_AIM_MILLISECONDS = 30
CHAIN_AIM_MILLISECONDS = 300
_CHAIN_REQUESTS = 10
_SETTLE_REQUESTS = 50


class Shape(NamedTuple):
    """Layers of ``width`` addresses, each feeding ``targets`` of the next layer within ``spread`` places of its own."""

    name: str
    layers: int
    width: int
    targets: int
    spread: int | None
    aim_seconds: float | None = FROM_NOTHING_AIM
    edge_aim_seconds: float | None = ONE_EDGE_AIM

    @property
    def addresses(self) -> int:
        return self.layers * self.width


CHAIN = Shape("chain of 200", 200, 1, 1, None, 0.1, None)
LOCAL = Shape("10 x 1,000, 3 targets within 10", 10, 1_000, 3, 10)
SHAPES = (
    CHAIN,
    Shape("10 x 1,000, 3 targets within 3", 10, 1_000, 3, 3),
    Shape("5 x 2,000, 4 targets anywhere", 5, 2_000, 4, None),
    LOCAL,
)
LONG_CHAIN = Shape("GET /lineage-graph/, chain of 5,000", 5_000, 1, 1, None)
DENSE = Shape("10 x 1,000, 3 targets anywhere", 10, 1_000, 3, None, None)


class Rebuilt(NamedTuple):
    """What one rebuild took: seconds, the most megabytes that the process ever had before and after, what it wrote."""

    seconds: float
    megabytes_before: float
    megabytes: float
    done: dict[str, int]

    @property
    def rows(self) -> int:
        return self.done["rows_inserted"] + self.done["rows_updated"] + self.done["rows_deleted"]


Rebuild = Callable[[list[int]], Rebuilt]


def draw(shape: Shape) -> set[Edge]:
    """The same edges every time; addresses are numbered from 1, layer by layer."""
    dice = random.Random(SEED)  # noqa: S311 - the same graph every time
    edges: set[Edge] = set()
    for source in range((shape.layers - 1) * shape.width):
        layer, position = divmod(source, shape.width)
        targets: set[int] = set()
        while len(targets) < shape.targets:
            near = shape.width if shape.spread is None else shape.spread
            targets.add((position + dice.randint(-near, near)) % shape.width)
        edges.update((source + 1, (layer + 1) * shape.width + target + 1) for target in targets)
    return edges


_PIPELINES = "INSERT INTO pipeline (name, pipeline_type_id) SELECT 'bench ' || n, 1 FROM generate_series(1, %s) AS n"
_ADDRESSES = "INSERT INTO address (name, address_type_id) SELECT 'bench ' || n, 1 FROM generate_series(1, %s) AS n"


def _load(connection: psycopg.Connection[Any], shape: Shape, edges: set[Edge]) -> None:
    connection.execute(
        "TRUNCATE address_lineage_closure, address_lineage_pending, address_lineage, address, address_type,"
        " pipeline_execution, pipeline, pipeline_type, outbox, task RESTART IDENTITY CASCADE"
    )
    connection.execute("INSERT INTO address_type (name, group_name) VALUES ('table', 'database')")
    connection.execute("INSERT INTO pipeline_type (name) VALUES ('bench')")
    connection.execute(_PIPELINES, [shape.addresses])
    connection.execute(_ADDRESSES, [shape.addresses])
    connection.execute("INSERT INTO address_lineage_closure SELECT id, id, 0, ARRAY[id] FROM address")
    copy_edges = "COPY address_lineage (pipeline_id, source_address_id, target_address_id) FROM STDIN"
    with connection.cursor() as cursor, cursor.copy(copy_edges) as copy:
        for source, target in sorted(edges):
            copy.write_row((target, source, target))
    settle(connection)


def _peak_megabytes() -> float:
    # Of this process image alone: getrusage tells the peak of the process that started it, when that was more.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


def _rebuild(connected: list[int]) -> Rebuilt:
    """Run the task's body; called in a process of its own, so that the peak is its own."""
    # PLC0415: the tasks read the settings when they are imported.
    from watcher_server.celery_tasks import address_lineage_closure_rebuild_task as rebuild_task  # noqa: PLC0415
    from watcher_server.database.engine import sync_engine  # noqa: PLC0415

    # A worker's connection is there already.
    with sync_engine().begin() as connection:
        connection.exec_driver_sql("SELECT 1")
    before = _peak_megabytes()
    began = time.perf_counter()
    done = rebuild_task(connected_addresses=connected, pipeline_id=1)
    seconds = time.perf_counter() - began
    return Rebuilt(seconds, before, _peak_megabytes(), done)


@contextmanager
def _worker() -> Iterator[Rebuild]:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        yield lambda connected: process.submit(_rebuild, connected).result()


_REMOVE = "DELETE FROM address_lineage WHERE source_address_id = %s AND target_address_id = %s"
_ADD = "INSERT INTO address_lineage (pipeline_id, source_address_id, target_address_id) VALUES (%s, %s, %s)"


def _change_edges(
    connection: psycopg.Connection[Any], shape: Shape, edges: set[Edge], rebuild: Rebuild
) -> Iterator[tuple[str, Rebuilt]]:
    """One edge removed, added again, and one replaced by another, a few times, anywhere in the graph."""
    dice = random.Random(SEED)  # noqa: S311 - the same edges every time
    ordered = sorted(edges)
    for _ in range(CHANGED_EDGES):
        source, target = dice.choice(ordered)
        other = target + 1 if target < shape.addresses else target - 1
        connection.execute(_REMOVE, [source, target])
        yield "removed", rebuild([source, target])
        connection.execute(_ADD, [target, source, target])
        yield "added", rebuild([source, target])
        connection.execute(_REMOVE, [source, target])
        connection.execute(_ADD, [target, source, other])
        yield "replaced", rebuild([source, target, other])
        connection.execute(_REMOVE, [source, other])
        connection.execute(_ADD, [target, source, target])
        rebuild([source, target, other])


def _aim(value: float, aim: float | None, unit: str) -> str:
    if aim is None:
        return "none"
    return f"{aim:g} {unit}: {'met' if value < aim else 'MISSED'}"


def _measure(connection: psycopg.Connection[Any], shape: Shape, table: Table) -> None:
    edges = draw(shape)
    _load(connection, shape, edges)
    with _worker() as rebuild:
        rebuilt = rebuild(list(range(1, shape.addresses + 1)))
    aim = _aim(rebuilt.seconds, shape.aim_seconds, "s")
    size = f"{shape.addresses:,} / {len(edges):,}"
    megabytes = f"{rebuilt.megabytes_before:.0f} to {rebuilt.megabytes:.0f}"
    table.add_row(shape.name, size, "from nothing", f"{rebuilt.rows:,}", "", f"{rebuilt.seconds:.2f}", megabytes, aim)
    changes: dict[str, list[Rebuilt]] = {}
    with _worker() as rebuild:
        for kind, change in _change_edges(connection, shape, edges, rebuild):
            changes.setdefault(kind, []).append(change)
    for kind, several in changes.items():
        seconds = sorted(change.seconds for change in several)
        aim = _aim(seconds[-1], shape.edge_aim_seconds, "s")
        rows = f"{max(change.rows for change in several):,}"
        times = (f"{median(seconds):.3f}", f"{seconds[-1]:.3f}")
        megabytes = f"{several[0].megabytes_before:.0f} to {several[-1].megabytes:.0f}"
        table.add_row("", "", f"one edge {kind}", rows, *times, megabytes, aim)


# Twenty runs of each pipeline, an hour apart, all ended well.
_RUNS = """
INSERT INTO pipeline_execution
    (pipeline_id, start_date, end_date, date_recorded, hour_recorded, duration_seconds, completed_successfully)
SELECT id, began, began + interval '1 minute', began::date, extract(hour FROM began), 60, true
FROM pipeline CROSS JOIN generate_series(1, %s) AS n
CROSS JOIN LATERAL (SELECT now() - n * interval '1 hour' AS began)
"""


def _measure_pages(connection: psycopg.Connection[Any], home: Path, requests: int, table: Table) -> None:
    connection.execute(_RUNS, [RUNS])
    settle(connection)
    dice = random.Random(SEED)  # noqa: S311 - the same addresses every time
    paths = {
        "GET /lineage-graph/?depth=2": "/lineage-graph/?source_address_id={}&depth=2",
        "GET /lineage-graph/?limit=100": "/lineage-graph/?source_address_id={}&limit=100",
        "GET /lineage-graph/": "/lineage-graph/?source_address_id={}",
        "GET /address/ID/downstream?limit=100": "/address/{}/downstream?limit=100",
        "GET /address/ID/upstream?limit=100": "/address/{}/upstream?limit=100",
    }
    port = free_port()
    with watcher_api(port, home, processes=1) as pid, httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        for name, path in paths.items():
            chosen = [dice.randint(1, LOCAL.addresses) for _ in range(requests + _SETTLE_REQUESTS)]
            cpu = cpu_seconds(pid)
            asked = [_ask(client, path.format(address_id)) for address_id in chosen][_SETTLE_REQUESTS:]
            cpu = 1000 * (cpu_seconds(pid) - cpu) / len(chosen)
            seconds = [each for each, _ in asked]
            p50, p95 = (milliseconds_of(seconds, share) for share in (0.5, 0.95))
            sizes = sorted(size for _, size in asked)
            aim = _aim(p95, PAGE_AIM_MILLISECONDS if "depth" in name else None, "ms")
            table.add_row(
                name,
                f"{len(asked):,}",
                f"{median(sizes):.0f}",
                str(sizes[-1]),
                f"{cpu:.1f} ms",
                f"{p50:.1f}",
                f"{p95:.1f}",
                aim,
            )


def _measure_long_chain(connection: psycopg.Connection[Any], home: Path, table: Table) -> None:
    """The graph around the middle of a chain."""
    _load(connection, LONG_CHAIN, draw(LONG_CHAIN))
    port = free_port()
    path = f"/lineage-graph/?source_address_id={LONG_CHAIN.addresses // 2}"
    with watcher_api(port, home, processes=1) as pid, httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        _ask(client, path)
        cpu = cpu_seconds(pid)
        asked = [_ask(client, path) for _ in range(_CHAIN_REQUESTS)]
        cpu = 1000 * (cpu_seconds(pid) - cpu) / len(asked)
    seconds = [each for each, _ in asked]
    p50, p95 = (milliseconds_of(seconds, share) for share in (0.5, 0.95))
    aim = _aim(p50, CHAIN_AIM_MILLISECONDS, "ms")
    size = str(asked[0][1])
    table.add_row(LONG_CHAIN.name, f"{len(asked)}", size, size, f"{cpu:.1f} ms", f"{p50:.1f}", f"{p95:.1f}", aim)


def _ask(client: httpx.Client, path: str) -> tuple[float, int]:
    """How long the answer took, and how many addresses it holds."""
    began = time.perf_counter()
    answer = client.get(path)
    seconds = time.perf_counter() - began
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return seconds, len(body["nodes"] if "nodes" in body else body["addresses"])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``python -m bench lineage`` takes."""
    parser.add_argument("--dense", action="store_true", help="also the graph of 8.6 million pairs; takes minutes")
    parser.add_argument("--requests", type=int, default=500, help="how many of each page are asked for (default 500)")


def run(arguments: argparse.Namespace, console: Console) -> None:
    """Measure and print."""
    columns = ("graph", "addresses / edges", "rebuild", "rows written", "median s", "seconds", "MB", "aim")
    closure = Table(*columns, title=f"The closure; of {CHANGED_EDGES} changed edges the worst")
    headings = ("page", "requests", "addresses", "most", "CPU of the api", "p50 ms", "p95 ms", "aim")
    pages = Table(*headings, title=f"Pages, one api process, the graph of {LOCAL.name}")
    with engines() as services, psycopg.connect(services.database_url, autocommit=True) as connection:
        if arguments.dense:
            _measure(connection, DENSE, closure)
        for shape in SHAPES:
            _measure(connection, shape, closure)
            console.print(f"{shape.name}: measured")
        # The last one is the graph of the pages.
        _measure_pages(connection, services.home, arguments.requests, pages)
        _measure_long_chain(connection, services.home, pages)
    console.print(closure)
    console.print(pages)
