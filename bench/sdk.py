"""What the SDK asks for with each run, as one scenario, and each request alone, while all of Watcher runs.

A cycle is `POST /pipeline` and `POST /address_lineage`, both of which say what is known already, the start and the end
of a run. Beside it the two limits: a handler with the same statements and nothing else, and an empty one, both on the
api's server. The worker and beat run all the time. Each pipeline has a rule, so that a task follows each end.

The speed of a machine that is shared varies by half within a minute. So what is compared is measured in turns, and what
is told is the median: start and end and the bare handler one after the other, and then each request alone, with start
and end among them, in half as many turns.
"""

import argparse
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import httpx
import psutil
import psycopg
from rich.console import Console
from rich.table import Table

from bench.cycles import PROCESSES, serve_bare
from bench.engines import empty_broker, empty_tables, engines, settle, watcher_api, watcher_worker
from bench.load import WARM_UP_SECONDS
from bench.sdk_load import Asked, Step, Turns, ask, request
from tests.support.live import free_port, watcher_process
from watcher_server.embedded.services import EmbeddedServices

PIPELINES = 100
_TYPE = {"address_type_name": "postgres", "address_type_group_name": "database"}
_CYCLE, _RUN, _BARE = "cycle of the SDK", "start and end", "bare handler"
_LEAST_OF_BARE, _LEAST_OF_RUN = 0.9, 0.5
# The connections of a turn are new, and the caches of the processors are another server's.
_TURN_WARM_UP_SECONDS = 0.5


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


_START_AND_END = (_start, _end)


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
        _RUN: _START_AND_END,
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


class _Server(NamedTuple):
    """Where a server listens, and its first process."""

    port: int
    pid: int


class _Found(NamedTuple):
    """Start and end and the bare handler in turns, the requests in turns, and the empty handler."""

    limit: Mapping[str, Turns]
    requests: Mapping[str, Turns]
    empty: Turns


class _Load:
    """The load, as the arguments have it."""

    def __init__(self, database_pid: int, connections: int, arguments: argparse.Namespace) -> None:
        self._database_pid, self._connections = database_pid, connections
        self._seconds: float = arguments.seconds
        self.turns: int = arguments.turns

    def ask(self, server: _Server, steps: Sequence[Step], *, warm_up: float = WARM_UP_SECONDS) -> Asked:
        """Have the server answer for the seconds of one turn."""
        return ask(
            server.port,
            steps,
            api_pid=server.pid,
            database_pid=self._database_pid,
            connections=self._connections,
            seconds=self._seconds,
            warm_up=warm_up,
        )

    def in_turns(self, asked: Mapping[str, tuple[_Server, Sequence[Step]]], turns: int) -> dict[str, Turns]:
        """What each of them saw in its turns; all have answered for a while before the first."""
        for server, steps in asked.values():
            self.ask(server, steps)
        found: dict[str, Turns] = {name: Turns() for name in asked}
        for _ in range(turns):
            for name, (server, steps) in asked.items():
                found[name].append(self.ask(server, steps, warm_up=_TURN_WARM_UP_SECONDS))
        return found


def _measure(services: EmbeddedServices, connections: int, arguments: argparse.Namespace) -> _Found:
    _empty(services)
    load = _Load(_database_pid(services.database_url), connections, arguments)
    ports = [free_port() for _ in range(3)]
    with (
        _worker_and_beat(services),
        watcher_api(ports[0], services.home, processes=PROCESSES) as pid,
        serve_bare("bench.bare:bare", ports[1]) as bare_pid,
    ):
        api, bare = _Server(ports[0], pid), _Server(ports[1], bare_pid)
        _prepare(api.port, services.database_url)
        limit = load.in_turns({_RUN: (api, _START_AND_END), _BARE: (bare, _START_AND_END)}, load.turns)
        requests = load.in_turns(
            {name: (api, steps) for name, steps in _scenarios().items()}, math.ceil(load.turns / 2)
        )
        with serve_bare("bench.bare:empty", ports[2]) as empty_pid:
            empty = Turns([load.ask(_Server(ports[2], empty_pid), _START_AND_END)])
    return _Found(limit, requests, empty)


def _row(name: str, turns: Turns, share: float | None = None, least: float | None = None) -> list[str]:
    return [
        name,
        f"{turns.per_second:,.0f}",
        "" if share is None else f"{share:.0%}",
        "" if least is None else f"{least:.0%}",
        f"{turns.api_milliseconds:.2f}",
        f"{turns.database_milliseconds:.2f}",
        f"{turns.latency_milliseconds(0.5):.1f}",
        f"{turns.latency_milliseconds(0.99):.1f}",
        str(turns.errors),
    ]


def _report(found: _Found, connections: int, console: Console) -> None:
    columns = ("", "requests/s", "share", "aim", "api CPU ms", "database CPU ms", "p50 ms", "p99 ms", "errors")
    title = f"Requests of the SDK, {connections} connections, {PROCESSES} api processes, a worker of {PROCESSES}, beat"
    table = Table(*columns, title=title)
    run = found.requests[_RUN].per_second
    for name, turns in found.requests.items():
        share = turns.per_second / run
        if name == _RUN:
            table.add_row(*_row(name, turns))
        elif name == _CYCLE:
            table.add_row(*_row(f"{name}, {turns.per_second / 4:,.0f} a second", turns, share))
        else:
            table.add_row(*_row(f"{name}: share of start and end", turns, share, _LEAST_OF_RUN))
    table.add_section()
    share = found.limit[_RUN].per_second / found.limit[_BARE].per_second
    table.add_row(*_row(f"{_RUN}: share of the bare handler", found.limit[_RUN], share, _LEAST_OF_BARE))
    table.add_row(*_row(f"{_RUN}: {_BARE}", found.limit[_BARE]))
    table.add_row(*_row(f"{_RUN}: empty handler", found.empty))
    console.print(table)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``python -m bench sdk`` takes."""
    parser.add_argument("--seconds", type=float, default=2, help="how long each turn takes (default 2)")
    parser.add_argument("--turns", type=int, default=8, help="how often start and end get theirs (default 8)")
    parser.add_argument("--connections", type=int, nargs="+", default=[16, 64], help="cycles at once (default 16 64)")


def run(arguments: argparse.Namespace, console: Console) -> None:
    """Measure and print."""
    with engines() as services:
        for connections in arguments.connections:
            _report(_measure(services, connections, arguments), connections, console)
