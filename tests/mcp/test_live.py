"""An assistant asks a real api and a real worker, over HTTP and over standard input and output."""

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import httpx
import httpx2
import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from sqlalchemy import NullPool, create_engine

from tests.conftest import OWN_PROCESSES, create_database, worker_broker
from tests.mcp.asking import ask, refusal
from tests.support.live import LiveServer, start_live, wait_until
from watcher_server.auth.service import create_token
from watcher_server.database.engine import sqlalchemy_url

COMMAND = [sys.executable, "-m", "watcher_server.cli.main", "mcp"]
WAYS = ("http", "stdio")


@dataclass(frozen=True)
class Guarded:
    """A server with a token for each scope, and a graph in it whose root is broken."""

    url: str
    tokens: Mapping[str, str]


@pytest.fixture(scope="module")
def guarded(worker_id: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    url = create_database(f"watcher_mcp_{worker_id}")
    engine = create_engine(sqlalchemy_url(url), poolclass=NullPool)
    with engine.begin() as connection:
        tokens = {scope: create_token(connection, scope, scope) for scope in ("read", "write", "admin")}
    logs = tmp_path_factory.mktemp("mcp")
    public = {"WATCHER_PUBLIC_URL": "https://watcher.example/"}
    with start_live(url, worker_broker(worker_id, OWN_PROCESSES), logs, settings=public) as live:
        break_the_root(live, tokens["admin"])
        yield Guarded(live.url, tokens)


def break_the_root(live: LiveServer, token: str) -> None:
    """Orders are loaded, cleaned and made a mart, of which a report is made; loading fails, and the mart gets stale."""
    with httpx.Client(base_url=live.url, headers={"Authorization": f"Bearer {token}"}) as api:
        at = datetime.now(UTC) - timedelta(hours=3)
        chain = ("shop.orders", "raw.orders", "clean.orders", "mart.orders", "report.revenue")
        names = ("load orders", "clean orders", "build orders mart", "report revenue")
        for name, (source, target) in zip(names, pairwise(chain), strict=True):
            stale = {"freshness_number": 1, "freshness_datepart": "hour"} if name != "load orders" else {}
            pipeline = post(api, "/pipeline", {"name": name, "pipeline_type_name": "sql", **stale})["id"]
            lineage = {"pipeline_id": pipeline, "source_addresses": [place(source)]}
            post(api, "/address_lineage", {**lineage, "target_addresses": [place(target)]})
            run(api, pipeline, at, inserts=100)
            if name == "load orders":
                said = {"error": "no route to host shop-db-7"}
                run(api, pipeline, at + timedelta(hours=2), success=False, execution_metadata=said)
        (shop,) = api.get("/address", params={"name": "shop.orders"}).json()
        reach = f"/address/{shop['id']}/downstream"
        wait_until(lambda: api.get(reach).json()["total"] == 4, "the closure of the lineage")
        wait_until(lambda: count(api, "failing") == 1, "the incident of the root")
        post(api, "/freshness", None)
        wait_until(lambda: count(api, "stale") == 3, "the incidents below it")
        wait_until(lambda: all(one["root_id"] for one in live_ones(api, "stale")), "their cause being found")


def place(name: str) -> dict[str, str]:
    return {"name": name, "address_type_name": "table", "address_type_group_name": "database"}


def post(api: httpx.Client, path: str, body: Any) -> Any:
    answer = api.post(path, json=body)
    assert answer.is_success, answer.text
    return answer.json() if answer.content else None


def run(api: httpx.Client, pipeline: int, at: datetime, *, success: bool = True, **fields: Any) -> None:
    body = {"pipeline_id": pipeline, "start_date": at.isoformat()}
    id_ = post(api, "/start_pipeline_execution", body)["id"]
    ended = (at + timedelta(minutes=5)).isoformat()
    post(api, "/end_pipeline_execution", {"id": id_, "end_date": ended, "completed_successfully": success, **fields})


def live_ones(api: httpx.Client, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get("/incident", params={"state": "live", "kind": kind}).json()
    return found


def count(api: httpx.Client, kind: str) -> int:
    return len(live_ones(api, kind))


@asynccontextmanager
async def connected(guarded: Guarded, way: str, scope: str) -> AsyncIterator[Client]:
    """A client in one of two ways, with the token of that scope."""
    token = guarded.tokens[scope]
    if way == "stdio":
        environment = {"WATCHER_URL": f"{guarded.url}/", "WATCHER_TOKEN": token, "PYTHONPATH": ":".join(sys.path)}
        command = StdioServerParameters(command=COMMAND[0], args=COMMAND[1:], env=environment)
        async with Client(command) as client:
            yield client
        return
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}) as http,
        Client(streamable_http_client(f"{guarded.url}/mcp", http_client=http)) as client,
    ):
        yield client


@pytest.mark.parametrize("way", WAYS)
async def test_why_is_the_orders_mart_stale(guarded: Guarded, way: str) -> None:
    async with connected(guarded, way, "read") as client:
        assert client.instructions is not None
        assert "explain_incident" in client.instructions
        explained = await ask(client, "explain_incident", about="orders mart")
        upstream = await ask(client, "upstream_of", of="orders mart")
        downstream = await ask(client, "downstream_of", of="raw.orders")

    assert "WARNING stale: pipeline 3 ⟦build orders mart⟧" in explained
    assert "CAUSE: #1 open ERROR failing: pipeline 1 ⟦load orders⟧" in explained
    assert "error ⟦no route to host shop-db-7⟧; https://watcher.example/ui/executions/" in explained
    assert "upstream of address" in upstream
    assert "2 hops: address" in upstream
    assert "⟦raw.orders⟧ is failing; written by pipeline 1 ⟦load orders⟧; https://watcher.example/" in upstream
    assert "By status: failing 1, stale 1, unknown 1" in upstream
    assert "⟦report.revenue⟧ is stale; written by pipeline 4 ⟦report revenue⟧" in downstream


async def test_a_pipeline_is_upstream_of_what_its_targets_feed(guarded: Guarded) -> None:
    async with connected(guarded, "http", "read") as client:
        upstream = await ask(client, "upstream_of", of="pipeline 3", hops=1)
        downstream = await ask(client, "downstream_of", of="clean orders")
        unclear = await refusal(client, "downstream_of", of="orders")
    assert "⟦clean.orders⟧ is stale" in upstream.partition("By status")[0]
    assert "Not well, nearest first (1):\n- 1 hop: address" in upstream
    assert "⟦shop.orders⟧" not in upstream
    assert "By status: stale 2" in downstream
    assert "are named like ⟦orders⟧" in unclear


async def test_an_address_is_explained_by_who_writes_it(guarded: Guarded) -> None:
    async with connected(guarded, "http", "read") as client:
        explained = await ask(client, "explain_incident", about="mart.orders")
        well = await ask(client, "explain_incident", about="shop.orders")
    assert "CAUSE: #1 open ERROR failing" in explained
    assert "No pipeline is known to write it" in well


@pytest.mark.parametrize("way", WAYS)
async def test_only_a_token_that_may_write_changes_something(guarded: Guarded, way: str) -> None:
    async with connected(guarded, way, "read") as client:
        assert len((await client.list_tools()).tools) == 8
        assert "may only read" in await refusal(client, "acknowledge", incident=1)
    async with connected(guarded, way, "write") as client:
        assert len((await client.list_tools()).tools) == 12
        assert "acknowledged by ⟦write⟧" in await ask(client, "acknowledge", incident=1)


async def test_wrong_arguments_come_back_through_the_command(guarded: Guarded) -> None:
    async with connected(guarded, "stdio", "read") as client:
        assert "days" in await refusal(client, "anomalies", days=0)
        assert "There is no tool" in await refusal(client, "drop_table")


class TestTheCommand:
    """What it says when it cannot begin: one sentence on standard error, and status 1."""

    def test_no_server(self) -> None:
        ended = _start({"WATCHER_URL": "http://127.0.0.1:9"})
        assert ended.returncode == 1
        assert ended.stderr.startswith("watcher: No Watcher answers at http://127.0.0.1:9")
        assert ended.stderr.count("\n") == 1
        assert ended.stdout == ""

    @pytest.mark.parametrize("url", ["file:///etc/passwd", "127.0.0.1:8000", "http://", "http://[", ""])
    def test_no_url(self, url: str) -> None:
        ended = _start({"WATCHER_URL": url})
        assert ended.returncode == 1
        assert ended.stderr.count("\n") == 1

    def test_no_token(self, guarded: Guarded) -> None:
        ended = _start({"WATCHER_URL": guarded.url, "WATCHER_TOKEN": "watcher_wrong"})
        assert ended.returncode == 1
        assert "/mcp answers 401: " in ended.stderr
        assert "watcher_wrong" not in ended.stderr

    def test_no_sdk(self) -> None:
        without = "import sys; sys.modules['mcp'] = None; sys.argv = ['watcher', 'mcp']"
        code = f"{without}; from watcher_server.cli.main import main; main()"
        ended = _start({}, [sys.executable, "-c", code])
        assert ended.returncode == 1
        assert "pip install 'watcher-server[mcp]'" in ended.stderr


def _start(environment: dict[str, str], command: list[str] = COMMAND) -> subprocess.CompletedProcess[str]:
    known = {"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin", "HOME": "/nowhere"}
    return subprocess.run(
        command,
        env={**known, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
