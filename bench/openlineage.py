"""OpenLineage: events accepted and applied a second, how soon they are seen, and what a burst does to everything else.

Events of about 4 KB as dbt and Airflow send them, against a real api and a real worker with the documented limits.
"""

import argparse
import asyncio
import gzip
import itertools
import json
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing import get_context
from threading import Thread
from typing import Any, NamedTuple, cast

import psutil
import psycopg
import uvloop
from rich.console import Console
from rich.table import Table

from bench.engines import cpu_seconds, empty_broker, empty_tables, engines, settle, watcher_api, watcher_worker
from bench.load import ACCEPT_SECONDS, WARM_UP_SECONDS, Measured, measure_cycles, milliseconds_of
from bench.openlineage_events import Event, as_bytes, dbt_events, first_contact, mixed_events, run_id
from tests.support.live import free_port
from watcher_server.embedded.services import EmbeddedServices
from watcher_server.openlineage import BATCH_PATH, EVENT_PATH

PROCESSES = 2
CONNECTIONS = 16
EVENTS = 20_000
BURST = 40_000
CONTACT_JOBS, CONTACT_TARGETS = 5_000, 4
PACED = 100
PACED_SECONDS = 20
GIVE_UP_SECONDS = 300
TABLES = (
    "openlineage_event, openlineage_failed_event, openlineage_run, openlineage_job, openlineage_dataset, "
    "openlineage_source"
)


@dataclass
class Accepted:
    """What one run of the load saw; ``refused`` counts answers of no success."""

    seconds: float = 0.0
    requests: int = 0
    refused: int = 0
    cpu_seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)


class _Sender(asyncio.Protocol):
    """One connection: a request, and the next as soon as it is answered, until there is none."""

    def __init__(self, requests: Iterator[bytes], results: Accepted, done: Callable[[], None]) -> None:
        self._requests, self._results, self._done = requests, results, done
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def _send(self) -> None:
        request = next(self._requests, None)
        if request is None or self._transport.is_closing():
            self._done()
            return
        self._began = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        _, found, length = head.lower().partition(b"content-length:")
        if not separator or (found and len(body) < int(length.partition(b"\r\n")[0])):
            return
        received, self._received = self._received, b""
        if received[9:10] == b"2":
            self._results.requests += 1
            self._results.latencies.append(time.perf_counter() - self._began)
        else:
            self._results.refused += 1
        self._send()


def _request(body: bytes, path: str = EVENT_PATH, *, packed: bool = False) -> bytes:
    if packed:
        body = gzip.compress(body, 3)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    )
    return head.encode() + (b"Content-Encoding: gzip\r\n" if packed else b"") + b"\r\n" + body


async def _load(port: int, pid: int, requests: Iterator[bytes], *, connections: int, seconds: float) -> Accepted:
    """Send for some seconds after a warm-up; with 0 until there is nothing left."""
    loop, results, finished = asyncio.get_running_loop(), Accepted(), asyncio.Event()
    open_ones, opened = connections, []

    def done() -> None:
        nonlocal open_ones
        open_ones -= 1
        if not open_ones:
            finished.set()

    spent, began = cpu_seconds(pid), time.perf_counter()
    for _ in range(connections):
        opened.append(await loop.create_connection(lambda: _Sender(requests, results, done), "127.0.0.1", port))
        await asyncio.sleep(ACCEPT_SECONDS)
    if seconds:
        await asyncio.sleep(WARM_UP_SECONDS)
        results.requests = results.refused = 0
        results.latencies.clear()
        spent, began = cpu_seconds(pid), time.perf_counter()
        await asyncio.sleep(seconds)
    else:
        await finished.wait()
    measured = Accepted(
        time.perf_counter() - began,
        results.requests,
        results.refused,
        cpu_seconds(pid) - spent,
        list(results.latencies),
    )
    for transport, _ in opened:
        transport.abort()
    return measured


def _empty(services: EmbeddedServices) -> None:
    empty_tables(services.database_url, pipelines=100)
    empty_broker(services.broker_url)
    with psycopg.connect(services.database_url, autocommit=True) as connection:
        connection.execute(f"TRUNCATE {TABLES}, address, address_type, address_lineage_closure CASCADE")
        settle(connection)


def _unique(events: Sequence[Event]) -> Iterator[Event]:
    """The same events again and again, each time of other runs."""
    for number in itertools.count():
        for event in events:
            run = {**event["run"], "runId": run_id(event["run"]["runId"], number)}
            yield {**event, "run": run}


def _accepting(services: EmbeddedServices, arguments: argparse.Namespace) -> Table:
    title = f"Accepted: {arguments.connections} connections, {PROCESSES} api processes, nothing is applied meanwhile"
    table = Table("", "events/s", "aim", "api CPU ms/event", "p50 ms", "p99 ms", "refused", title=title)
    sample = list(itertools.islice(_unique(mixed_events(4_000)), 40_000))
    bodies = [as_bytes(event) for event in sample]
    ways = {
        "one event": (1, "1,500", [_request(body) for body in bodies]),
        "one event, gzip": (1, "1,300", [_request(body, packed=True) for body in bodies]),
        "500 events": (
            500,
            "8,000",
            [_request(b"[%s]" % b",".join(bodies[n : n + 500]), BATCH_PATH) for n in range(0, len(bodies), 500)],
        ),
    }
    for name, (size, aim, requests) in ways.items():
        _empty(services)
        port = free_port()
        with watcher_api(port, services.home, processes=PROCESSES, WATCHER_OPENLINEAGE_MAX_WAITING="100000000") as pid:
            load = _load(
                port, pid, itertools.cycle(requests), connections=arguments.connections, seconds=arguments.seconds
            )
            measured = uvloop.run(load)
        number = measured.requests * size
        table.add_row(
            name, f"{number / measured.seconds:,.0f}", aim, f"{1000 * measured.cpu_seconds / max(number, 1):.2f}",
            f"{milliseconds_of(measured.latencies, 0.5):.1f}", f"{milliseconds_of(measured.latencies, 0.99):.1f}",
            str(measured.refused),
        )  # fmt: skip
    return table


def _put(services: EmbeddedServices, events: Sequence[Event]) -> None:
    with psycopg.connect(services.database_url, autocommit=True) as connection:
        connection.cursor().executemany(
            "INSERT INTO openlineage_event (lane, body) VALUES (%s, %s)",
            [(event["job"]["namespace"], zlib.compress(as_bytes(event), 1)) for event in events],
        )


class Seen(NamedTuple):
    """How many events wait, and how many executions there are."""

    waiting: int
    executions: int


def _see(connection: psycopg.Connection[Any]) -> Seen:
    row = connection.execute(
        "SELECT (SELECT count(*) FROM openlineage_event WHERE applied_at IS NULL),"
        " (SELECT count(*) FROM pipeline_execution)"
    ).fetchone()
    return Seen(*(row or (0, 0)))


def _wait_until_applied(services: EmbeddedServices) -> float:
    """Seconds until nothing waits any more."""
    began = time.perf_counter()
    with psycopg.connect(services.database_url, autocommit=True) as connection:
        while _see(connection).waiting and time.perf_counter() - began < GIVE_UP_SECONDS:
            time.sleep(0.2)
    return time.perf_counter() - began


@contextmanager
def _running(services: EmbeddedServices, *, concurrency: int) -> Iterator[tuple[int, int, int]]:
    """An api and a worker; the port, and the two process ids."""
    port = free_port()
    with (
        watcher_api(port, services.home, processes=PROCESSES) as api,
        watcher_worker(services.home, concurrency=concurrency) as worker,
    ):
        yield port, api, worker


def _postgres(services: EmbeddedServices) -> float:
    """The CPU seconds of the database's processes, as far as they live."""
    total = 0.0
    for process in psutil.process_iter(["name", "cmdline"]):
        if "postgres" in (process.info["name"] or "") and process.is_running():
            times = process.cpu_times()
            total += times.user + times.system
    return total


def _applying(services: EmbeddedServices) -> Table:
    _empty(services)
    _put(services, mixed_events(EVENTS))
    with _running(services, concurrency=1) as (_, _, worker):
        with psycopg.connect(services.database_url) as connection:
            wake = "INSERT INTO outbox (task_name, queue, kwargs) VALUES ('openlineage_apply_task', 'scheduled', '{}')"
            connection.execute(wake)
        spent, database = cpu_seconds(worker), _postgres(services)
        seconds = _wait_until_applied(services)
        spent, database = cpu_seconds(worker) - spent, _postgres(services) - database
    table = Table("", "events/s", "worker CPU ms/event", "with database", title="Applied by one worker process")
    each = 1000 / EVENTS
    table.add_row(
        f"{EVENTS:,} events of dbt and Airflow", f"{EVENTS / seconds:,.0f} (aim 500)", f"{each * spent:.2f} (aim 2)",
        f"{each * (spent + database):.2f} (aim 4)",
    )  # fmt: skip
    return table


async def _send_paced(port: int, events: Sequence[Event], every: float) -> dict[str, float]:
    """Send at a pace; when each run's event was answered, by its id."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answered: dict[str, float] = {}
    began = time.perf_counter()
    for number, event in enumerate(events):
        await asyncio.sleep(max(0.0, began + number * every - time.perf_counter()))
        writer.write(_request(as_bytes(event)))
        await reader.readuntil(b"}")
        answered[event["run"]["runId"]] = time.time()
    writer.close()
    return answered


def _watch(services: EmbeddedServices, wanted: set[str], seen: dict[str, float], stop: list[bool]) -> None:
    with psycopg.connect(services.database_url, autocommit=True) as connection:
        while not stop and wanted - seen.keys():
            rows = connection.execute(
                "SELECT run_id FROM openlineage_run WHERE run_id = ANY(%s)", [list(wanted - seen.keys())]
            ).fetchall()
            now = time.time()
            seen.update({row[0]: now for row in rows if row[0] not in seen})
            time.sleep(0.05)


def _visible(services: EmbeddedServices, port: int, events: Sequence[Event], every: float) -> list[float]:
    """How long after its answer each event was seen, in seconds."""
    seen: dict[str, float] = {}
    stop: list[bool] = []
    wanted = {event["run"]["runId"] for event in events}
    watcher = Thread(target=_watch, args=(services, wanted, seen, stop))
    watcher.start()
    answered = uvloop.run(_send_paced(port, events, every))
    watcher.join(60)
    stop.append(True)
    watcher.join()
    never = float("inf")
    return [max(0.0, seen.get(run, never) - at) for run, at in answered.items()]


def _starts(namespace: str, number: int) -> list[Event]:
    """So many first events of runs of their own."""
    sample = next(iter(dbt_events(namespace, 1, 0, datetime.now(UTC))))
    events = []
    for one in range(number):
        run = {**sample["run"], "runId": run_id(namespace, "paced", one)}
        events.append({**sample, "run": run, "job": {**sample["job"], "name": f"job_{one % 50}"}})
    return events


def _latency_table(services: EmbeddedServices) -> Table:
    _empty(services)
    with _running(services, concurrency=2) as (port, _, _):
        waited = _visible(services, port, _starts("paced", PACED * PACED_SECONDS), 1 / PACED)
    table = Table("", "p50 s", "p95 s", "aim", title=f"From the answer to the pages, at {PACED} events/s")
    p50, p95 = (milliseconds_of(waited, share) / 1000 for share in (0.5, 0.95))
    table.add_row("a run", f"{p50:.2f}", f"{p95:.2f}", "0.5 and 2")
    return table


def _cycles(port: int, pid: int, seconds: float) -> Measured:
    return measure_cycles(port, pid, connections=4, seconds=seconds, pipelines=100, pace=50)


def _burst_table(services: EmbeddedServices) -> Table:
    _empty(services)
    bodies = [as_bytes(event) for event in _burst_events()]
    table = Table("", "measured", "aim", title=f"A burst of {len(bodies):,} events in one namespace")
    # In a process of its own: the load of the burst would hold up the clock of the cycles.
    with (
        _running(services, concurrency=2) as (port, api, _),
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as apart,
    ):
        quiet = apart.submit(_cycles, port, api, 8).result()
        during = apart.submit(_cycles, port, api, 15)
        others: list[float] = []
        other = Thread(target=lambda: others.extend(_visible(services, port, _starts("other", 40), 0.5)))
        other.start()
        requests = iter([_request(body) for body in bodies])
        began = time.perf_counter()
        accepted = uvloop.run(_load(port, api, requests, connections=CONNECTIONS, seconds=0))
        during.result()
        _wait_until_applied(services)
        visible = time.perf_counter() - began
        other.join()
    before, after = quiet.latency_milliseconds(0.99), during.result().latency_milliseconds(0.99)
    table.add_row("accepted", f"{accepted.seconds:.1f} s", "30 s")
    table.add_row("refused", str(accepted.refused), "0")
    table.add_row("all of it visible", f"{visible:.1f} s", "120 s")
    table.add_row("another namespace's events visible, p95", f"{milliseconds_of(others, 0.95) / 1000:.2f} s", "5 s")
    table.add_row("start and end, p99", f"{before:.1f} to {after:.1f} ms ({after / before:.1f} times)", "3 times")
    return table


def _burst_events() -> list[Event]:
    events: list[Event] = []
    invocation = 0
    now = datetime.now(UTC)
    while len(events) < BURST:
        events += dbt_events("burst", 400, invocation, now)
        invocation += 1
    return events[:BURST]


def _contact_table(services: EmbeddedServices) -> Table:
    _empty(services)
    events = first_contact(CONTACT_JOBS, CONTACT_TARGETS)
    batches = [events[n : n + 500] for n in range(0, len(events), 500)]
    requests = [_request(json.dumps(batch).encode(), BATCH_PATH) for batch in batches]
    with (
        _running(services, concurrency=2) as (port, api, _),
        psycopg.connect(services.database_url, autocommit=True) as connection,
    ):
        began = time.perf_counter()
        uvloop.run(_load(port, api, iter(requests), connections=4, seconds=0))
        _wait_until_applied(services)
        applied = time.perf_counter() - began
        while time.perf_counter() - began < GIVE_UP_SECONDS:
            row = connection.execute(
                "SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM task WHERE state NOT IN"
                " ('SUCCESS', 'FAILURE', 'REVOKED')) + (SELECT count(*) FROM address_lineage_pending),"
                " (SELECT count(*) FROM address_lineage), (SELECT count(*) FROM address_lineage_closure)"
            ).fetchone()
            if row is not None and not row[0]:
                break
            time.sleep(0.5)
        right = time.perf_counter() - began
    edges, pairs = (row[1], row[2]) if row is not None else (0, 0)
    table = Table("", "measured", "aim", title=f"First contact: {CONTACT_JOBS:,} jobs")
    table.add_row("applied", f"{applied:.1f} s", "")
    table.add_row(f"closure of {edges:,} edges right ({pairs:,} pairs)", f"{right:.1f} s", "180 s")
    return table


PARTS: dict[str, Callable[[EmbeddedServices, argparse.Namespace], Table]] = {
    "accept": _accepting,
    "apply": lambda services, _: _applying(services),
    "visible": lambda services, _: _latency_table(services),
    "burst": lambda services, _: _burst_table(services),
    "contact": lambda services, _: _contact_table(services),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``python -m bench openlineage`` takes."""
    parser.add_argument("--seconds", type=int, default=8, help="how long each way of accepting is measured (default 8)")
    parser.add_argument("--connections", type=int, default=CONNECTIONS, help="requests at once (default 16)")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this part; may be given more than once")


def run(arguments: argparse.Namespace, console: Console) -> None:
    """Measure and print."""
    with engines() as services:
        for name in arguments.part or PARTS:
            console.print(PARTS[name](services, arguments))
            console.print(f"Load of the machine in the last minute: {psutil.getloadavg()[0]:.1f}.")
