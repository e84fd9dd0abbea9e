"""Events over HTTP: what is stored, what is answered, and what applies them."""

import asyncio
import gzip
import json
import time
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.auth.test_access import bearer, make_token
from tests.conftest import MakeClient
from tests.support.openlineage import Event, apply_waiting, run_event
from watcher_server.openlineage import BATCH_PATH, EVENT_PATH

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
EVENT = run_event("START", START)
MIB = 1024**2


def encoded(event: Any) -> bytes:
    return json.dumps(event).encode()


def stored(engine: Engine) -> list[Event]:
    """The events of the inbox."""
    with engine.connect() as connection:
        bodies = connection.scalars(text("SELECT body FROM openlineage_event ORDER BY id"))
        return [json.loads(zlib.decompress(body)) for body in bodies]


def waiting_tasks(engine: Engine) -> int:
    with engine.connect() as connection:
        statement = "SELECT count(*) FROM outbox WHERE task_name = 'openlineage_apply_task' AND queue = 'scheduled'"
        return int(connection.scalar(text(statement)) or 0)


async def eventually(condition: Callable[[], bool]) -> None:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < 10
        await asyncio.sleep(0.02)


async def until(client: httpx.AsyncClient, status: int) -> None:
    """Send the event until it is answered like this."""
    began = time.monotonic()
    while (await client.post(EVENT_PATH, json=EVENT)).status_code != status:
        assert time.monotonic() - began < 10
        await asyncio.sleep(0.1)


def padded(size: int) -> bytes:
    """An event of so many bytes."""
    raw = encoded(EVENT | {"padding": ""})
    return raw[:-2] + b"x" * (size - len(raw)) + b'"}'


async def test_an_event_is_stored_before_it_is_answered(client: httpx.AsyncClient, engine: Engine) -> None:
    answer = await client.post(EVENT_PATH, json=EVENT)

    assert answer.status_code == 201
    assert stored(engine) == [EVENT]
    with engine.connect() as connection:
        row = connection.execute(text("SELECT id, lane, applied_at FROM openlineage_event")).one()
    assert tuple(row) == (answer.json()["event_id"], "demo", None)


async def test_the_same_event_again_is_stored_again_and_changes_nothing(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    answers = [await client.post(EVENT_PATH, json=EVENT) for _ in range(2)]
    apply_waiting(engine)

    assert [answer.status_code for answer in answers] == [201, 201]
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM pipeline_execution")) == 1


def in_two_members(raw: bytes) -> bytes:
    return gzip.compress(raw[:50]) + gzip.compress(raw[50:])


def without_header(raw: bytes) -> bytes:
    return zlib.compress(raw, wbits=-15)


AS_JAVA = {"Content-Type": "application/json; charset=UTF-8", "Accept": "application/json, */*"}
WAYS = {
    "gzip without saying so": ({}, gzip.compress),
    "gzip": ({"Content-Encoding": "gzip"}, gzip.compress),
    "gzip by its old name": ({"Content-Encoding": "X-GZIP"}, gzip.compress),
    "gzip in two members": ({"Content-Encoding": "gzip"}, in_two_members),
    "deflate": ({"Content-Encoding": "deflate"}, zlib.compress),
    "deflate without a header": ({"Content-Encoding": "deflate"}, without_header),
    "identity": ({"Content-Encoding": "identity"}, bytes),
    "another type": ({"Content-Type": "text/plain"}, bytes),
    "as Java sends": (AS_JAVA, bytes),
}


@pytest.mark.parametrize(("headers", "pack"), WAYS.values(), ids=WAYS)
async def test_a_body_may_be_packed_and_of_any_type(
    client: httpx.AsyncClient, engine: Engine, headers: dict[str, str], pack: Callable[[bytes], bytes]
) -> None:
    answer = await client.post(EVENT_PATH, params={"key": "value"}, content=pack(encoded(EVENT)), headers=headers)

    assert answer.status_code == 201, answer.text
    assert stored(engine) == [EVENT]


async def test_another_coding_is_refused_with_those_that_are_taken(client: httpx.AsyncClient) -> None:
    answer = await client.post(EVENT_PATH, content=b"x", headers={"Content-Encoding": "br"})

    assert answer.status_code == 415
    assert answer.headers["accept-encoding"] == "gzip, deflate, identity"


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
async def test_an_event_has_a_largest_size_however_it_is_packed(
    make_client: MakeClient, engine: Engine, pack: Callable[[bytes], bytes]
) -> None:
    async with make_client(openlineage_max_event_bytes=MIB) as client:
        taken, refused = [await client.post(EVENT_PATH, content=pack(padded(size))) for size in (MIB, MIB + 1)]

    assert (taken.status_code, refused.status_code) == (201, 413)
    assert "retry-after" not in refused.headers
    assert "WATCHER_OPENLINEAGE_MAX_EVENT_BYTES" in refused.json()["detail"]
    assert len(stored(engine)) == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "The body is not JSON"),
        (b"{", "The body is not JSON"),
        (b"null", "An event is a JSON object"),
        (b"[]", "arrays of events go to /api/v1/lineage/batch"),
        (b"{}", "eventTime must be a moment"),
        (encoded(EVENT | {"eventTime": "yesterday"}), "eventTime must be a moment"),
        (encoded(EVENT | {"run": {}}), "run.runId must be"),
        (encoded(EVENT | {"job": {"namespace": " ", "name": "x"}}), "job.namespace must be"),
        (encoded(EVENT | {"job": None}), "job.namespace must be"),
        (encoded({"eventTime": "2026-03-01", "dataset": {"namespace": "x"}}), "dataset.name must be"),
    ],
)
async def test_what_lacks_what_identifies_it_is_told_so(
    client: httpx.AsyncClient, engine: Engine, body: bytes, said: str
) -> None:
    answer = await client.post(EVENT_PATH, content=body)

    assert answer.status_code == 422
    (wrong,) = answer.json()["detail"]
    assert wrong["loc"] == ["body"]
    assert said in wrong["msg"]
    assert stored(engine) == []


JOB = {"namespace": "n", "name": "j"}
KINDS = {
    "a job": {"eventTime": "2026-03-01T12:00:00Z", "job": JOB, "schemaURL": "x"},
    "a dataset": {"eventTime": "2026-03-01T12:00:00Z", "dataset": JOB},
    "a run": {
        "eventTime": "2026-03-01T12:00:00.123456789+01:00[Europe/Berlin]",
        "eventType": 7,
        "run": {"runId": "no uuid"},
        "job": JOB,
        "inputs": None,
    },
}


@pytest.mark.parametrize("event", KINDS.values(), ids=KINDS)
async def test_every_kind_of_event_is_taken(client: httpx.AsyncClient, engine: Engine, event: Event) -> None:
    assert (await client.post(EVENT_PATH, json=event)).status_code == 201
    assert stored(engine) == [event]


async def test_what_cannot_be_stored_is_replaced(client: httpx.AsyncClient, engine: Engine) -> None:
    body = encoded(EVENT | {"producer": "PLACE"}).replace(b"PLACE", rb"a\u0000b\ud800c")

    assert (await client.post(EVENT_PATH, content=body)).status_code == 201
    assert stored(engine) == [EVENT | {"producer": "a\ufffdb\ufffdc"}]


async def test_a_password_in_a_namespace_is_not_in_its_lane(client: httpx.AsyncClient, engine: Engine) -> None:
    event = run_event("START", START, namespace="postgres://user:secret@wh:5432/" + "x" * 300)

    assert (await client.post(EVENT_PATH, json=event)).status_code == 201
    with engine.connect() as connection:
        lane = connection.scalar(text("SELECT lane FROM openlineage_event"))
    assert lane == ("postgres://wh:5432/" + "x" * 300)[:200]


async def test_each_element_of_a_batch_is_judged_by_itself(client: httpx.AsyncClient, engine: Engine) -> None:
    second = run_event("COMPLETE", START)
    deep = b'{"a":' * 10_000 + b"1" + b"}" * 10_000
    body = b"[%s, 1, %s, {}, %s, {x}]" % (encoded(EVENT), deep, encoded(second))

    answer = await client.post(BATCH_PATH, content=body)

    assert answer.status_code == 200
    said = answer.json()
    assert said["status"] == "partial_success"
    assert said["summary"] == {"received": 6, "successful": 2, "failed": 4, "retriable": 0, "non_retriable": 4}
    assert [(wrong["index"], wrong["retriable"]) for wrong in said["failed_events"]] == [
        (1, False),
        (2, False),
        (3, False),
        (5, False),
    ]
    assert "eventTime must be" in said["failed_events"][2]["reason"]
    assert stored(engine) == [EVENT, second]
    apply_waiting(engine)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT completed_successfully FROM pipeline_execution")) is True


async def test_a_batch_without_mistakes_is_a_success(client: httpx.AsyncClient, engine: Engine) -> None:
    events = [run_event("START", START, run=f"run {number}") for number in range(1_000)]

    answer = await client.post(BATCH_PATH, content=gzip.compress(encoded(events)))

    summary = {"received": 1_000, "successful": 1_000, "failed": 0, "retriable": 0, "non_retriable": 0}
    assert answer.json() == {"status": "success", "summary": summary, "failed_events": []}
    assert stored(engine) == events


async def test_an_empty_batch_is_a_success(client: httpx.AsyncClient, engine: Engine) -> None:
    answer = await client.post(BATCH_PATH, content=b" [ ] ")

    assert (answer.status_code, answer.json()["summary"]["received"]) == (200, 0)
    assert stored(engine) == []


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"null", b"[", b"[{}", b"[{},]", b"[{} {}]", b"[{}] x", b'["', b'[{"a": "]}', b"[,]"]
)
async def test_what_is_no_array_is_no_batch(client: httpx.AsyncClient, engine: Engine, body: bytes) -> None:
    answer = await client.post(BATCH_PATH, content=body)

    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body"]
    assert stored(engine) == []


async def test_a_batch_has_bounds(make_client: MakeClient, engine: Engine) -> None:
    async with make_client(openlineage_max_event_bytes=MIB) as client:
        long = await client.post(BATCH_PATH, content=b"[%s]" % b",".join([b"{}"] * 10_001))
        large = await client.post(BATCH_PATH, content=gzip.compress(b"[%s]" % padded(8 * MIB)))
        one_large = await client.post(BATCH_PATH, content=gzip.compress(b"[%s,%s]" % (padded(MIB + 1), encoded(EVENT))))

    assert [long.status_code, large.status_code, one_large.status_code] == [413, 413, 200]
    assert "retry-after" not in long.headers
    assert [wrong["index"] for wrong in one_large.json()["failed_events"]] == [0]
    assert stored(engine) == [EVENT]


async def test_an_event_that_is_sent_to_the_root_is_taken(client: httpx.AsyncClient, engine: Engine) -> None:
    assert (await client.post("/", content=gzip.compress(encoded(EVENT)))).status_code == 201
    assert stored(engine) == [EVENT]


@pytest.mark.parametrize("body", [b"", b"name=value", b"{}", b"[]", b"\x1f\x8b\x00"])
async def test_anything_else_that_is_sent_to_the_root_is_refused_as_other_methods_are(
    client: httpx.AsyncClient, body: bytes
) -> None:
    answer, other = await client.post("/", content=body), await client.put("/", content=body)

    assert (answer.status_code, answer.json()) == (405, {"detail": "Method Not Allowed"})
    assert (other.status_code, other.json(), other.headers["allow"]) == (405, answer.json(), answer.headers["allow"])


async def test_the_root_still_welcomes(client: httpx.AsyncClient) -> None:
    got, head = await client.get("/"), await client.head("/")

    assert (got.status_code, got.json()["name"], head.status_code) == (200, "Watcher", 200)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", [EVENT_PATH, BATCH_PATH])
async def test_other_methods_are_told_what_to_set(client: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await client.request(method, path)

    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    if method != "HEAD":
        assert "OPENLINEAGE_URL" in answer.json()["detail"]
        assert "OPENLINEAGE_API_KEY" in answer.json()["detail"]


async def test_a_task_is_called_for_at_once_and_then_once_for_all(client: httpx.AsyncClient, engine: Engine) -> None:
    await client.post(EVENT_PATH, json=EVENT)
    await eventually(lambda: waiting_tasks(engine) == 1)

    for _ in range(20):
        await client.post(EVENT_PATH, json=EVENT)
    await asyncio.sleep(0.5)
    assert waiting_tasks(engine) == 1

    with engine.begin() as connection:
        connection.execute(text("DELETE FROM outbox"))
    for _ in range(2):
        await client.post(BATCH_PATH, json=[EVENT])
    await eventually(lambda: waiting_tasks(engine) == 1)


async def test_a_task_that_has_not_begun_is_enough(client: httpx.AsyncClient, engine: Engine) -> None:
    published = """
        INSERT INTO task (id, name, kwargs, queue, state)
        VALUES (gen_random_uuid(), 'openlineage_apply_task', '{}', 'scheduled', :state)
    """
    with engine.begin() as connection:
        connection.execute(text(published), {"state": "PENDING"})
    await client.post(EVENT_PATH, json=EVENT)
    await asyncio.sleep(0.3)
    assert waiting_tasks(engine) == 0

    with engine.begin() as connection:
        connection.execute(text("UPDATE task SET state = 'PROGRESS'"))
    await client.post(EVENT_PATH, json=EVENT)
    await eventually(lambda: waiting_tasks(engine) == 1)


async def test_a_full_inbox_takes_nothing_until_it_has_room(make_client: MakeClient, engine: Engine) -> None:
    async with make_client(openlineage_max_waiting=2) as client:
        await client.post(BATCH_PATH, json=[EVENT] * 3)
        await until(client, 503)
        taken = stored(engine)
        refused = [await client.post(EVENT_PATH, json=EVENT), await client.post(BATCH_PATH, json=[EVENT])]
        assert [answer.status_code for answer in refused] == [503, 503]
        assert {answer.headers["retry-after"] for answer in refused} == {"1"}
        assert "WATCHER_OPENLINEAGE_MAX_WAITING" in refused[0].json()["detail"]
        assert stored(engine) == taken

        apply_waiting(engine)
        await until(client, 201)


async def test_large_bodies_wait_for_each_other_within_bounds(make_client: MakeClient, engine: Engine) -> None:
    body = padded(MIB - 100)
    async with make_client(max_body_bytes=MIB) as client:
        answers = await asyncio.gather(*(client.post(EVENT_PATH, content=body) for _ in range(12)))

    statuses = sorted(answer.status_code for answer in answers)
    assert set(statuses) <= {201, 503}
    assert statuses.count(201) >= 8
    assert all(answer.headers.get("retry-after") for answer in answers if answer.status_code == 503)
    assert len(stored(engine)) == statuses.count(201)


@pytest.mark.parametrize(
    ("scope", "statuses"),
    [
        (None, [401, 401, 401]),
        ("read", [403, 403, 403]),
        ("ingest", [201, 200, 201]),
        ("write", [201, 200, 201]),
        ("admin", [201, 200, 201]),
    ],
)
async def test_who_may_send(make_client: MakeClient, engine: Engine, scope: str | None, statuses: list[int]) -> None:
    headers = bearer(make_token(engine, scope or "admin")) if scope else {}
    if not scope:
        make_token(engine)
    async with make_client() as client:
        answers = [
            await client.post(EVENT_PATH, json=EVENT, headers=headers),
            await client.post(BATCH_PATH, json=[EVENT], headers=headers),
            await client.post("/", json=EVENT, headers=headers),
        ]
        welcome = await client.get("/")
    assert [answer.status_code for answer in answers] == statuses
    assert welcome.status_code == 200


async def test_nothing_of_a_body_is_logged(
    make_client: MakeClient, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    event = run_event("START", START, namespace="postgres://user:hunter2@wh:5432")
    async with make_client() as client:
        for body in (encoded(event), encoded(event)[:-9], encoded(event | {"eventTime": "hunter2"}), b"hunter2"):
            for path in (EVENT_PATH, BATCH_PATH, "/"):
                answer = await client.post(path, content=body)
                assert "hunter2" not in answer.text
    assert "hunter2" not in caplog.text


async def test_the_reference_describes_the_routes(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]

    for path in (EVENT_PATH, BATCH_PATH, "/"):
        operation = paths[path]["post"]
        assert operation["tags"] == ["openlineage"]
        assert "application/json" in operation["requestBody"]["content"]
        assert {"401", "403", "413", "415", "422", "503"} <= set(operation["responses"])
        assert {"token": ["ingest"]} in operation["security"]
    assert "get" not in paths[EVENT_PATH]
