"""Bodies that no client should send: each is taken or refused, none is a failure of the server."""

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from tests.conftest import OWN_PROCESSES, create_database, worker_broker
from tests.openlineage.test_receiving import stored
from tests.support.live import start_live
from tests.support.memory import held_megabytes, peak_megabytes
from tests.support.openlineage import Event, apply_waiting, dataset, output, parent, run_event
from watcher_server.openlineage import BATCH_PATH, EVENT_PATH

MIB = 1024**2
START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def event(**changes: Any) -> Event:
    whole = run_event(
        "COMPLETE",
        START,
        inputs=[dataset("a.b.c")],
        outputs=[output("a.b.d", rows=1)],
        run_facets=parent("etl", "p"),
        job_facets={"sql": {"query": "SELECT 1"}},
    )
    return whole | changes


def raw(**changes: Any) -> bytes:
    return json.dumps(event(**changes)).encode()


def with_text(text: bytes) -> bytes:
    """An event in which this stands as a text of JSON, everywhere where a text may stand."""
    return raw().replace(b'"etl"', b'"%s"' % text).replace(b'"a.b.c"', b'"%s"' % text)


def with_value(value: bytes) -> bytes:
    """An event with a facet that has this value."""
    return raw(run={"runId": "r", "facets": {"nominalTime": {"nominalStartTime": "VALUE"}}}).replace(b'"VALUE"', value)


# Each with values of other types than expected.
PLACES: dict[str, Callable[[Any], bytes]] = {
    "eventType": lambda value: raw(eventType=value),
    "eventTime": lambda value: raw(eventTime=value),
    "producer": lambda value: raw(producer=value),
    "run": lambda value: raw(run=value),
    "runId": lambda value: raw(run={"runId": value}),
    "run facets": lambda value: raw(run={"runId": "r", "facets": value}),
    "parent": lambda value: raw(run={"runId": "r", "facets": {"parent": value}}),
    "parent's run": lambda value: raw(run={"runId": "r", "facets": {"parent": {"run": value, "job": value}}}),
    "job": lambda value: raw(job=value),
    "job's name": lambda value: raw(job={"namespace": "n", "name": value}),
    "job's namespace": lambda value: raw(job={"namespace": value, "name": "n"}),
    "job facets": lambda value: raw(job={"namespace": "n", "name": "n", "facets": {"jobType": value, "tags": value}}),
    "inputs": lambda value: raw(inputs=value),
    "an input": lambda value: raw(inputs=[value]),
    "an input's name": lambda value: raw(inputs=[{"namespace": value, "name": value, "facets": value}]),
    "outputs": lambda value: raw(outputs=value, dataset=value),
    "statistics": lambda value: raw(
        outputs=[{"namespace": "n", "name": "o", "outputFacets": {"outputStatistics": {"rowCount": value}}}]
    ),
    "columns": lambda value: raw(
        outputs=[{"namespace": "n", "name": "o", "facets": {"columnLineage": {"fields": value}, "schema": value}}]
    ),
}
VALUES: dict[str, Any] = {
    "null": None,
    "a number": 1e308,
    "a text": "x\x00",
    "a list": [[None]],
    "an object": {"x": {}},
}
BODIES = {f"{place} is {name}": make(value) for place, make in PLACES.items() for name, value in VALUES.items()} | {
    "nothing": b"",
    "white space": b" \n\t",
    "NUL": b"\x00" * 100,
    "null": b"null",
    "an empty list": b"[]",
    "a list of lists": b"[[[]]]",
    "a number": b"1",
    "a text": b'"x"',
    "half an event": raw()[:-20],
    "two events": raw() + raw(),
    "a byte-order mark": b"\xef\xbb\xbf" + raw(),
    "UTF-16": raw().decode().encode("utf-16"),
    "Latin-1": with_text(b"\xe9\xff"),
    "bytes that are no characters": with_text(b"\xed\xa0\x80\xf8\x88\x80\x80\x80"),
    "a NUL": with_text(rb"a\u0000b"),
    "a bare NUL": with_text(b"a\x00b"),
    "half a pair of surrogates": with_text(rb"\ud800"),
    "surrogates in the wrong order": with_text(rb"\udc00\ud800"),
    "an emoji": with_text("\N{PILE OF POO}".encode()),
    "marks of direction": with_text("\u202e\u2066".encode()),
    "SQL": with_text(b"'; DROP TABLE pipeline; --"),
    "a name of 100 KB": with_text(b"x" * 100_000),
    "10^400": with_value(b"1" + b"0" * 400),
    "a number of 5,000 digits": with_value(b"9" * 5_000),
    "10^400 as a real number": with_value(b"1e400"),
    "NaN": with_value(b"NaN"),
    "Infinity": with_value(b"-Infinity"),
    "150 levels": with_value(b'{"a":' * 150 + b"1" + b"}" * 150),
    "500 levels with a NUL": with_value(b'{"a":' * 500 + rb'"\u0000"' + b"}" * 500),
    "900 levels": with_value(b'{"a":' * 900 + b"1" + b"}" * 900),
    "10,000 levels": with_value(b'{"a":' * 10_000 + b"1" + b"}" * 10_000),
    "10,000 lists": b"[" * 10_000 + b"]" * 10_000,
    "a million open lists": b"[" * 1_000_000,
    "600,000 values": raw(padding=[0] * 600_000),
    "the same key twice": raw()[:-1] + b"," + raw()[1:],
    "a hundred thousand keys": raw(padding={f"k{number}": 0 for number in range(100_000)}),
    "20,000 inputs": raw(inputs=[dataset(f"t{number}") for number in range(20_000)]),
    "two thousand facets": raw(run={"runId": "r", "facets": {f"f{number}": {} for number in range(2_000)}}),
    "the year 0": raw(eventTime="0000-01-01T00:00:00Z"),
    "the year 1": raw(eventTime="0001-01-01T00:00:00+14:00"),
    "the year 9999": raw(eventTime="9999-12-31T23:59:59-12:00"),
    "a zone without an end": raw(eventTime="2026-03-01T12:00:00Z[Europe/Berlin"),
    "gzip that breaks off": gzip.compress(raw())[:-12],
    "gzip with a wrong sum": gzip.compress(raw())[:-8] + bytes(8),
    "gzip and something else": gzip.compress(raw()) + b"something else",
    "gzip of gzip": gzip.compress(gzip.compress(raw())),
    "the beginning of gzip": b"\x1f\x8b",
    "gzip of nothing": gzip.compress(b""),
    "a hundred thousand gzips of nothing": gzip.compress(b"") * 100_000,
    "gzip of 100 MB": gzip.compress(bytes(100 * MIB)),
    "zlib without saying so": zlib.compress(raw()),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_no_body_is_a_5xx(client: httpx.AsyncClient, engine: Engine, body: bytes) -> None:
    taken = 0
    packed = {"Content-Encoding": "gzip"}
    for path, headers in ((EVENT_PATH, {}), (EVENT_PATH, packed), ("/", {})):
        answer = await client.post(path, content=body, headers=headers)
        assert answer.status_code == 201 or 400 <= answer.status_code < 500
        taken += answer.status_code == 201
    batches = [await client.post(BATCH_PATH, content=content) for content in (body, b"[%s,%s]" % (raw(), body))]
    for answer in batches:
        assert answer.status_code == 200 or 400 <= answer.status_code < 500
        if answer.status_code == 200:
            taken += answer.json()["summary"]["successful"]

    assert len(stored(engine)) == taken


async def test_what_was_taken_can_be_applied(client: httpx.AsyncClient, engine: Engine) -> None:
    for body in BODIES.values():
        await client.post(EVENT_PATH, content=body)
    assert len(stored(engine)) > 50
    apply_waiting(engine)


@pytest.fixture(scope="module")
def api(worker_id: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real api of one process, which no other module uses."""
    database_url = create_database(f"watcher_hostile_events_{worker_id}")
    broker_url = worker_broker(worker_id, OWN_PROCESSES)
    with start_live(database_url, broker_url, tmp_path_factory.mktemp("live")) as server:
        yield server.url


def pack(start: bytes, repeated: bytes, times: int, end: bytes = b"") -> bytes:
    """A gzip of so many repetitions, made without holding them."""
    packer = zlib.compressobj(1, wbits=31)
    piece = repeated * (1 + MIB // len(repeated))
    packed = [packer.compress(start)]
    packed += [packer.compress(piece) for _ in range(times * len(repeated) // len(piece))]
    return b"".join([*packed, packer.compress(end), packer.flush()])


def make_bombs() -> list[bytes]:
    """Up to 7 MiB that hold far more, or are far more once they are read."""
    return [
        pack(b"", b"\x00", 200 * MIB),
        pack(b'{"eventTime":"', b"x", 200 * MIB),
        # 8 and 60 MiB of small objects, of small lists in one element, of brackets, of text, and of empty texts.
        pack(b"[", b'{"a":1},', MIB - MIB // 100, b"1]"),
        pack(b"[", b'{"a":1},', 7 * MIB, b"1]"),
        pack(b"[[", b"[1],", 15 * MIB, b"1]]"),
        pack(b"", b"[", 60 * MIB),
        pack(b'["', b"x\xf0\x9f\x98\x80", 12 * MIB, b'"]'),
        pack(b"[", b'"",', 20 * MIB, b'""]'),
        gzip.compress(b"") * (7 * MIB // 20),
    ]


@pytest.mark.timeout(300)
def test_a_bomb_costs_no_more_than_its_limit(api: str) -> None:
    httpx.post(f"{api}{EVENT_PATH}", content=raw(), timeout=60).raise_for_status()
    bombs = make_bombs()
    before = held_megabytes(api)
    with ThreadPoolExecutor(8) as threads:
        asked = [
            threads.submit(httpx.post, f"{api}{path}", content=bomb, timeout=120)
            for bomb in bombs
            for path in (EVENT_PATH, BATCH_PATH)
        ]
        statuses = {answer.result().status_code for answer in asked}

    assert statuses <= {200, 413, 422}
    # A batch may unpack to 64 MiB.
    assert peak_megabytes(api) - before < 64 + 200
    assert httpx.post(f"{api}{EVENT_PATH}", content=raw(), timeout=60).status_code == 201
