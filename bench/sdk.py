"""What the SDK asks for with each run, as one scenario, and each request alone, while all of Watcher runs.

A cycle is `POST /pipeline` and `POST /address_lineage`, both of which say what is known already, the start and the end
of a run. Beside it the two limits: a handler with the same statements and nothing else, and an empty one, both on the
api's server and while the worker and beat run. Each pipeline has a rule, so that a task follows each end.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import httpx
import psutil
import psycopg
from rich.console import Console
from rich.table import Table

from bench.cycles import PROCESSES, serve_bare
from bench.engines import empty_broker, empty_tables, engines, settle, watcher_api, watcher_worker
from bench.sdk_load import Asked, Step, ask, request
from tests.support.live import free_port, watcher_process
from watcher_server.embedded.services import EmbeddedServices

PIPELINES = 100
_TYPE = {"address_type_name": "postgres", "address_type_group_name": "database"}
_CYCLE, _RUN = "cycle of the SDK", "start and end"
_LEAST_OF_BARE, _LEAST_OF_RUN = 0.9, 0.5


def _pipeline(number: int) -> str:
    body = {"name": f"bench {number}", "pipeline_type_name": "bench", "pipeline_metadata": {"team": "bench"}}
    return json.dumps(body)


def _address(number: int) -> dict[str, str]:
    return {"name": f"warehouse.bench.table_{number}", **_TYPE}


def _lineage(number: int, *, replace: bool = False) -> str:
    sources = [_address(number), _address(number + 1)]
    body = {"pipeline_id": number, "source_addresses": sources, "target_addresses": [_address(number + 2)]}
    return json.dumps({**body, "replace": replace})


def _same(requests: Sequence[bytes]) -> Step:
    return lambda number, _: requests[number % len(requests)]


def _start(number: int, _: bytes) -> bytes:
    body = f'{{"pipeline_id": {number % PIPELINES + 1}, "next_watermark": "{number}"}}'
    return request("POST", "/start_pipeline_execution", body)


def _end(_: int, answer: bytes) -> bytes:
    execution_id = int(answer.partition(b":")[2].rstrip(b"}"))
    body = (
        f'{{"id": {execution_id}, "completed_successfully": true, "inserts": 1000, "updates": 10, "total_rows": 1010}}'
    )
    return request("POST", "/end_pipeline_execution", body)


def _move(number: int, _: bytes) -> bytes:
    return request("PATCH", "/pipeline", f'{{"id": {number % PIPELINES + 1}, "watermark": "{number}"}}')


def _scenarios() -> Mapping[str, Sequence[Step]]:
    numbers = range(1, PIPELINES + 1)
    pipeline = _same([request("POST", "/pipeline", _pipeline(number)) for number in numbers])
    lineage = _same([request("POST", "/address_lineage", _lineage(number)) for number in numbers])
    return {
        "POST /pipeline, unchanged": [pipeline],
        "POST /address_lineage, skipped": [lineage],
        "POST /address_lineage, unchanged": [
            _same([request("POST", "/address_lineage", _lineage(number, replace=True)) for number in numbers])
        ],
        "POST /address, unchanged": [
            _same([request("POST", "/address", json.dumps(_address(number))) for number in numbers])
        ],
        "GET /pipeline/{id}": [_same([request("GET", f"/pipeline/{number}") for number in numbers])],
        # Each pipeline has run once.
        "GET /pipeline_execution/{id}": [
            _same([request("GET", f"/pipeline_execution/{number}") for number in numbers])
        ],
        "PATCH /pipeline, watermark": [_move],
        _RUN: [_start, _end],
        _CYCLE: [pipeline, lineage, _start, _end],
    }


def _prepare(port: int, database_url: str) -> None:
    """Have every pipeline known, with its lineage and one run that has ended."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as api:
        for number in range(1, PIPELINES + 1):
            for method, path, body in (
                ("POST", "/pipeline", _pipeline(number)),
                ("POST", "/address", json.dumps(_address(number))),
                ("POST", "/address_lineage", _lineage(number)),
                ("POST", "/start_pipeline_execution", f'{{"pipeline_id": {number}}}'),
                ("POST", "/end_pipeline_execution", f'{{"id": {number}, "completed_successfully": true}}'),
            ):
                answer = api.request(method, path, content=body, headers={"Content-Type": "application/json"})
                answer.raise_for_status()
    with psycopg.connect(database_url, autocommit=True) as connection:
        # The closure knows the edges at once, and not when their rebuilds have had their turns.
        connection.execute("""
            INSERT INTO address_lineage_closure (source_address_id, target_address_id, depth, lineage_path)
            SELECT DISTINCT source_address_id, target_address_id, 1, ARRAY[source_address_id, target_address_id]
            FROM address_lineage ON CONFLICT DO NOTHING
        """)
        settle(connection)


def _empty(services: EmbeddedServices) -> None:
    empty_tables(services.database_url, pipelines=PIPELINES, judged=True)
    with psycopg.connect(services.database_url, autocommit=True) as connection:
        connection.execute(
            "TRUNCATE address_type, address, address_lineage, address_lineage_closure RESTART IDENTITY CASCADE"
        )
    empty_broker(services.broker_url)


def _database_pid(database_url: str) -> int:
    with psycopg.connect(database_url) as connection:
        return int(psutil.Process(connection.info.backend_pid).ppid())


@contextmanager
def _worker_and_beat(services: EmbeddedServices) -> Iterator[None]:
    with (
        watcher_worker(services.home, concurrency=PROCESSES),
        watcher_process(["beat"], {}, services.home / "bench-beat.log"),
    ):
        yield


def _measure(services: EmbeddedServices, connections: int, arguments: argparse.Namespace) -> dict[str, Asked]:
    """What each scenario saw, and the limits."""
    database_pid, found = _database_pid(services.database_url), {}

    def run(port: int, pid: int, steps: Sequence[Step]) -> Asked:
        return ask(
            port,
            steps,
            api_pid=pid,
            database_pid=database_pid,
            connections=connections,
            seconds=arguments.seconds,
        )

    _empty(services)
    port = free_port()
    with _worker_and_beat(services):
        with watcher_api(port, services.home, processes=PROCESSES) as pid:
            _prepare(port, services.database_url)
            for name, steps in _scenarios().items():
                found[name] = run(port, pid, steps)
        for server in ("bare", "empty"):
            port = free_port()
            with serve_bare(f"bench.bare:{server}", port) as pid:
                found[server] = run(port, pid, [_start, _end])
    return found


def _row(name: str, asked: Asked, share: float | None, least: float | None) -> list[str]:
    each = 1000 / max(asked.requests, 1)
    return [
        name,
        f"{asked.per_second:,.0f}",
        "" if share is None else f"{share:.0%}",
        "" if least is None else f"{least:.0%}",
        f"{asked.api_cpu * each:.2f}",
        f"{asked.database_cpu * each:.2f}",
        f"{asked.milliseconds(0.5):.1f}",
        f"{asked.milliseconds(0.99):.1f}",
        str(asked.errors),
    ]


def _report(found: Mapping[str, Asked], connections: int, console: Console) -> None:
    columns = ("", "requests/s", "share", "aim", "api CPU ms", "database CPU ms", "p50 ms", "p99 ms", "errors")
    title = f"Requests of the SDK, {connections} connections, {PROCESSES} api processes, a worker of {PROCESSES}, beat"
    table = Table(*columns, title=title)
    run, bare = found[_RUN].per_second, found["bare"].per_second
    for name, asked in found.items():
        if name == _RUN:
            table.add_row(*_row(f"{name}: share of the bare handler", asked, run / bare, _LEAST_OF_BARE))
        elif name == _CYCLE:
            table.add_row(*_row(f"{name}, {asked.per_second / 4:,.0f} a second", asked, asked.per_second / run, None))
        elif name in {"bare", "empty"}:
            table.add_row(*_row(f"start and end: {name} handler", asked, None, None))
        else:
            share = asked.per_second / run
            table.add_row(*_row(f"{name}: share of start and end", asked, share, _LEAST_OF_RUN))
    console.print(table)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``python -m bench sdk`` takes."""
    parser.add_argument("--seconds", type=int, default=8, help="how long each measurement takes (default 8)")
    parser.add_argument("--connections", type=int, nargs="+", default=[16, 64], help="cycles at once (default 16 64)")


def run(arguments: argparse.Namespace, console: Console) -> None:
    """Measure and print."""
    with engines() as services:
        for connections in arguments.connections:
            _report(_measure(services, connections, arguments), connections, console)
