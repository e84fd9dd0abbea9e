"""What cannot be applied is refused with a sentence that says why, and nothing of it is stored."""

import gzip
import json
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.conftest import MakeClient
from tests.dbt.conftest import Files, ReadTarget, upload
from watcher_server.auth.scopes import Scope
from watcher_server.auth.service import create_token

Change = Callable[[Files], Files]


def stored(engine: Engine) -> int:
    tables = ("pipeline", "pipeline_execution", "address", "address_lineage", "dbt_artifact", "outbox", "pipeline_type")
    with engine.connect() as connection:
        return sum(connection.scalar(text(f"SELECT count(*) FROM {table}")) or 0 for table in tables)


def said(answer: httpx.Response) -> str:
    detail = answer.json()["detail"]
    return detail if isinstance(detail, str) else str(detail[0]["msg"])


def without(*names: str) -> Change:
    return lambda files: {name: content for name, content in files.items() if name not in names}


def replacing(name: str, content: bytes) -> Change:
    return lambda files: {**files, name: content}


def altering(name: str, old: bytes, new: bytes) -> Change:
    def change(files: Files) -> Files:
        assert old in files[name]
        return {**files, name: files[name].replace(old, new)}

    return change


def with_json(name: str, edit: Callable[[Any], Any]) -> Change:
    def change(files: Files) -> Files:
        told = json.loads(files[name])
        edit(told)
        return {**files, name: json.dumps(told).encode()}

    return change


def cut(name: str) -> Change:
    return lambda files: {**files, name: files[name][: len(files[name]) // 2]}


def packed(name: str, pack: Callable[[bytes], bytes]) -> Change:
    return lambda files: {**files, name: pack(files[name])}


def version(name: str, schema: str) -> Change:
    address = f"https://schemas.getdbt.com/dbt/{schema}.json"
    return with_json(name, lambda told: told["metadata"].update(dbt_schema_version=address))


RESULTS = "run_results.json"
WRONG: dict[str, tuple[Change, str]] = {
    "no manifest": (without("manifest.json"), "manifest.json is missing"),
    "a manifest alone": (without(RESULTS, "sources.json"), "run_results.json is missing"),
    "half a manifest": (cut("manifest.json"), "manifest.json: Invalid JSON"),
    "half the results": (cut(RESULTS), "run_results.json: Invalid JSON"),
    "half the sources, after good results": (cut("sources.json"), "sources.json: Invalid JSON"),
    "half a gzip": (packed(RESULTS, lambda raw: gzip.compress(raw)[:-20]), "ends in the middle"),
    "a damaged gzip": (packed(RESULTS, lambda raw: gzip.compress(raw)[:40] + bytes(99)), "no gzip file, or damaged"),
    "an empty file": (replacing(RESULTS, b""), "Invalid JSON"),
    "no JSON": (replacing(RESULTS, b"<html>"), "Invalid JSON"),
    "a list": (replacing(RESULTS, b"[]"), "must be an object"),
    "null": (replacing("manifest.json", b"null"), "must be an object"),
    "UTF-16": (packed(RESULTS, lambda raw: raw.decode().encode("utf-16")), "Invalid JSON"),
    "Latin-1": (altering("manifest.json", b"Every order", b"Jede B\xe4ckerei"), "Invalid JSON"),
    "half a surrogate": (altering("manifest.json", b"Every order", b"\\ud83d"), "Invalid JSON"),
    "endless nesting": (replacing(RESULTS, b'{"results": ' + b"[" * 100_000), "Invalid JSON"),
    "an older manifest": (version("manifest.json", "manifest/v8"), "manifest v8; Watcher reads v9 to v12"),
    "a newer manifest": (version("manifest.json", "manifest/v13"), "manifest v13; Watcher reads v9 to v12"),
    "older results": (version(RESULTS, "run-results/v3"), "run-results v3; Watcher reads v4 to v6"),
    "newer sources": (version("sources.json", "sources/v4"), "sources v4; Watcher reads v3"),
    "a newer version of another shape": (
        replacing(
            "sources.json",
            b'{"metadata": {"dbt_schema_version": "https://schemas.getdbt.com/dbt/sources/v7.json",'
            b' "generated_at": "2026-01-01T00:00:00Z", "invocation_id": "x"}}',
        ),
        "sources v7; Watcher reads v3",
    ),
    "the wrong file": (lambda files: {**files, RESULTS: files["sources.json"]}, "run-results v4 to v6"),
    "no schema": (version(RESULTS, "x"), "names no schema of dbt"),
    "no invocation": (with_json(RESULTS, lambda told: told["metadata"].update(invocation_id=None)), "invocation_id"),
    "the results of another project": (
        altering(RESULTS, b"model.shop.orders", b"model.other.orders"),
        "model.other.orders, and manifest.json does not",
    ),
    "a result twice": (with_json(RESULTS, lambda told: told["results"].append(told["results"][0])), "twice"),
    "a source twice": (with_json("sources.json", lambda told: told["results"].append(told["results"][0])), "twice"),
    "an unknown status": (altering(RESULTS, b'"status": "fail"', b'"status": "sad"'), "an entry, status"),
    "a NUL in a name": (altering("manifest.json", b'"alias": "orders"', b'"alias": "or\\u0000ders"'), "control"),
    "a time out of this world": (
        with_json(RESULTS, lambda told: told["metadata"].update(generated_at="0001-01-01T00:00:00+14:00")),
        "between the years",
    ),
    "a clock of another year": (
        with_json(RESULTS, lambda told: told["metadata"].update(generated_at="9998-01-01T00:00:00Z")),
        "9998-01-01T00:00:00Z lies more than a day ahead of the server's time",
    ),
    "a threshold of huge numbers": (altering("sources.json", b'"count": 6', b'"count": 99999999999'), "less than"),
    "results that are no objects": (
        with_json(RESULTS, lambda told: told.update(results=[1] * 9)),
        "an entry: must be an object",
    ),
    "nodes that are no objects": (with_json("manifest.json", lambda told: told.update(nodes={"a": 1})), "an entry"),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_wrong_file_is_refused_and_nothing_is_stored(
    client: httpx.AsyncClient, read_target: ReadTarget, engine: Engine, wrong: str
) -> None:
    change, sentence = WRONG[wrong]
    answer = await upload(client, change(read_target("broken")))
    assert answer.status_code == 422, answer.text
    assert sentence in said(answer)
    assert len(answer.content) < 1000
    assert stored(engine) == 0


async def test_runs_of_a_clock_that_is_ahead_count_from_now_on(
    client: httpx.AsyncClient, read_target: ReadTarget, engine: Engine
) -> None:
    ahead = (datetime.now(UTC) + timedelta(hours=5)).isoformat()
    change = with_json(RESULTS, lambda told: told["metadata"].update(generated_at=ahead))

    assert (await upload(client, change(read_target("broken")))).status_code == 201

    with engine.connect() as connection:
        row = connection.execute(
            text("SELECT end_date <= now(), end_skew > '4 hours' FROM pipeline_execution WHERE id = 1")
        )
        assert tuple(row.one()) == (True, True)
    assert (await client.get("/pipeline_execution/1")).json()["clock_skew_seconds"] > 4 * 3600


def node(number: int) -> bytes:
    facts = {"unique_id": "a", "resource_type": "model", "name": "a", "package_name": "a"}
    return b'"a%d": %s' % (number, json.dumps(facts).encode())


MANY: dict[str, tuple[bytes, str]] = {
    "too many nodes": (b'"nodes": {%s}' % b",".join(map(node, range(50_001))), "more than 50,000 entries"),
    "too many values": (b'"nodes": {}, "x": [%s1]' % (b"1," * 4_500_000), "more than 4,500,000 values"),
    "a node that reads too many": (
        b'"nodes": {%s, "depends_on": {"nodes": [%s1]}}}' % (node(1)[:-1], b'"a",' * 10_000),
        "10000",
    ),
}


@pytest.mark.parametrize("many", MANY)
async def test_too_much_of_something_is_refused(
    client: httpx.AsyncClient, read_target: ReadTarget, engine: Engine, many: str
) -> None:
    content, sentence = MANY[many]
    head = json.dumps({"metadata": json.loads(read_target("run")["manifest.json"])["metadata"]}).encode()
    manifest = head.removesuffix(b"}") + b", " + content + b"}"
    answer = await upload(client, {**read_target("run"), "manifest.json": manifest})
    assert (answer.status_code, sentence in said(answer)) == (422, True), answer.text
    assert stored(engine) == 0


async def test_nodes_that_reach_each_other_in_too_many_ways(
    client: httpx.AsyncClient, read_target: ReadTarget, engine: Engine
) -> None:
    def tangle(told: Any) -> None:
        ephemeral = {"resource_type": "model", "name": "a", "package_name": "a", "relation_name": None}
        names = [f"model.shop.a{number}" for number in range(1200)]
        for name in names:
            told["nodes"][name] = {**ephemeral, "unique_id": name, "depends_on": {"nodes": names}}
        told["nodes"]["model.shop.orders"]["depends_on"]["nodes"] = names

    answer = await upload(client, with_json("manifest.json", tangle)(read_target("run")))
    assert (answer.status_code, "too many ways" in said(answer)) == (422, True), answer.text
    assert stored(engine) == 0


async def test_a_nul_in_a_message_is_replaced(client: httpx.AsyncClient, read_target: ReadTarget) -> None:
    files = altering(RESULTS, b"no_such_column", b"no\\u0000such")(read_target("broken"))
    assert (await upload(client, files)).status_code == 201


class TestParts:
    """The multipart body around the files."""

    async def test_an_unknown_part_is_named_by_what_there_is(self, client: httpx.AsyncClient) -> None:
        answer = await upload(client, {"catalog.json": b"{}"})
        assert answer.status_code == 422
        assert "none of manifest.json, run_results.json" in said(answer)

    async def test_two_parts_of_one_name(self, client: httpx.AsyncClient) -> None:
        parts = [("manifest.json", ("a", b"{}")), ("manifest", ("b", b"{}"))]
        answer = await client.post("/dbt/artifacts", files=parts)
        assert (answer.status_code, said(answer)) == (422, "There are two parts named manifest")

    async def test_a_file_as_a_field(self, client: httpx.AsyncClient) -> None:
        answer = await client.post("/dbt/artifacts", files={"manifest.json": (None, b"{}")})
        assert answer.status_code == 422
        assert "send it as a file" in said(answer)

    async def test_a_field_as_a_file(self, client: httpx.AsyncClient) -> None:
        answer = await client.post("/dbt/artifacts", files={"namespace": ("namespace", b"x")})
        assert answer.status_code == 422
        assert "send it as a field" in said(answer)

    @pytest.mark.parametrize("value", ["", " ", "x" * 101, "a\nb", "\u202e"])
    async def test_a_field_that_cannot_be_a_name(
        self, client: httpx.AsyncClient, read_target: ReadTarget, engine: Engine, value: str
    ) -> None:
        answer = await upload(client, read_target("run"), namespace=value)
        assert answer.status_code == 422, answer.text
        assert stored(engine) == 0

    @pytest.mark.parametrize(
        ("body", "content_type", "status"),
        [
            (b"{}", "application/json", 415),
            (b"", "", 415),
            (b"--x--", "multipart/form-data", 422),
            (b"nothing of it", "multipart/form-data; boundary=x", 422),
            (b"--x\r\n\r\n\r\n--x--", "multipart/form-data; boundary=x", 422),
        ],
    )
    async def test_no_multipart(self, client: httpx.AsyncClient, body: bytes, content_type: str, status: int) -> None:
        answer = await client.post("/dbt/artifacts", content=body, headers={"Content-Type": content_type})
        assert answer.status_code == status, answer.text
        assert said(answer)

    async def test_nothing_at_all(self, client: httpx.AsyncClient) -> None:
        assert (await client.post("/dbt/artifacts")).status_code == 415

    async def test_an_unknown_coding(self, client: httpx.AsyncClient) -> None:
        answer = await client.post("/dbt/artifacts", content=b"x", headers={"Content-Encoding": "br"})
        assert (answer.status_code, answer.headers["accept-encoding"]) == (415, "gzip")


class TestPacked:
    """Gzip, of each file or of the whole body."""

    async def test_files_may_be_packed_one_by_one(self, client: httpx.AsyncClient, read_target: ReadTarget) -> None:
        files = {f"{name}.gz": gzip.compress(raw) for name, raw in read_target("broken").items()}
        assert (await upload(client, files)).status_code == 201

    async def test_a_file_may_have_several_members(self, client: httpx.AsyncClient, read_target: ReadTarget) -> None:
        files = {
            name: gzip.compress(raw[:500]) + gzip.compress(raw[500:]) for name, raw in read_target("broken").items()
        }
        assert (await upload(client, files)).status_code == 201

    async def test_the_whole_body_may_be_packed(self, client: httpx.AsyncClient, read_target: ReadTarget) -> None:
        assert (await send_packed(client, read_target("broken"))).status_code == 201

    @pytest.mark.parametrize("pack", [lambda raw: raw[:-9], zlib.compress])
    async def test_a_body_that_is_packed_badly(
        self, client: httpx.AsyncClient, read_target: ReadTarget, engine: Engine, pack: Callable[[bytes], bytes]
    ) -> None:
        answer = await send_packed(client, read_target("broken"), pack)
        assert answer.status_code == 422
        assert stored(engine) == 0

    async def test_a_body_larger_than_the_limit_is_refused(
        self, make_client: MakeClient, read_target: ReadTarget, engine: Engine
    ) -> None:
        async with make_client(dbt_max_bytes=100_000) as client:
            answer = await upload(client, read_target("broken"))
            assert (answer.status_code, "WATCHER_DBT_MAX_BYTES" in said(answer)) == (413, True)
            bomb = gzip.compress(bytes(10_000_000))
            for files in (read_target("broken"), dict.fromkeys(("manifest.json", RESULTS), bomb)):
                answer = await send_packed(client, files)
                assert (answer.status_code, "WATCHER_DBT_MAX_BYTES" in said(answer)) == (413, True)
        assert stored(engine) == 0

    async def test_other_bodies_keep_their_limit(self, make_client: MakeClient) -> None:
        async with make_client(max_body_bytes=2000) as client:
            answer = await client.post("/pipeline", json={"name": "x" * 3000})
            assert (answer.status_code, "WATCHER_MAX_BODY_BYTES" in said(answer)) == (413, True)


async def send_packed(
    client: httpx.AsyncClient, files: Files, pack: Callable[[bytes], bytes] = lambda raw: raw
) -> httpx.Response:
    request = client.build_request("POST", "/dbt/artifacts", files=[(name, (name, raw)) for name, raw in files.items()])
    body = pack(gzip.compress(await request.aread()))
    if pack is zlib.compress:
        body = zlib.compress(await request.aread())
    headers = {"Content-Type": request.headers["content-type"], "Content-Encoding": "gzip"}
    return await client.post("/dbt/artifacts", content=body, headers=headers)


async def test_a_token_that_only_reads_may_not_upload(
    client: httpx.AsyncClient, read_target: ReadTarget, engine: Engine
) -> None:
    with engine.begin() as connection:
        tokens = {scope: create_token(connection, scope.value, scope.value) for scope in (Scope.READ, Scope.WRITE)}
    for scope, status in ((Scope.READ, 403), (Scope.WRITE, 201)):
        client.headers["Authorization"] = f"Bearer {tokens[scope]}"
        answer = await upload(client, read_target("broken"))
        del client.headers["Authorization"]
        assert answer.status_code == status, answer.text


async def test_a_page_of_another_site_may_not_upload(client: httpx.AsyncClient, read_target: ReadTarget) -> None:
    client.headers["Origin"] = "https://elsewhere.example"
    answer = await upload(client, read_target("broken"))
    del client.headers["Origin"]
    assert answer.status_code == 403
