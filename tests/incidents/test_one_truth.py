"""Whatever is wrong with a pipeline: everybody who says how it does says it in the same words."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import unescape
from itertools import combinations
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from tests.incidents.records import add_incident
from tests.lineage.graphs import draw_addresses, draw_edges
from tests.support.rows import add_run, ago, change_pipeline
from watcher_server.incidents.kinds import Kind
from watcher_server.pipelines.status import WRONG, Status

KINDS = tuple(Kind(status) for status in WRONG)
CASES = [(kind,) for kind in KINDS] + list(combinations(KINDS, 2)) + [KINDS]


@dataclass(frozen=True)
class Said:
    """What one place says of the pipeline: its status, and what else holds, None where a place says no more."""

    status: str
    also: Sequence[str] | None = None


def _texts(html: str, pattern: str) -> list[str]:
    """What stands in each place that is found, without the tags."""
    return [
        unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", found))).strip()
        for found in re.findall(pattern, html, re.DOTALL)
    ]


async def _page(client: httpx.AsyncClient, path: str) -> str:
    answer = await client.get(path, headers={"Accept": "text/html"})
    assert answer.status_code == 200
    return answer.text


async def _json(client: httpx.AsyncClient, path: str) -> Any:
    answer = await client.get(path)
    assert answer.status_code == 200
    return answer.json()


async def _api(client: httpx.AsyncClient) -> Said:
    (listed,) = [row for row in await _json(client, "/pipeline") if row["id"] == 1]
    alone = await _json(client, "/pipeline/1")
    assert (alone["status"], alone["also"], alone["state"]) == (listed["status"], listed["also"], listed["state"])
    return Said(alone["status"], alone["also"])


async def _incidents(client: httpx.AsyncClient) -> Said:
    live = [row["kind"] for row in await _json(client, "/incident?pipeline_id=1") if row["state"] != "resolved"]
    ordered = sorted(live, key=list(KINDS).index)
    return Said(ordered[0], ordered[1:])


async def _overview(client: httpx.AsyncClient) -> Said:
    html = await _page(client, "/ui")
    table = html.partition('aria-label="What is wrong"')[2].partition("</table>")[0]
    (status,) = _texts(table, r'<td class="state">((?:<a [^>]*>)?<span class="status.*?)</td>\s*<th [^>]*>.*?one</a>')
    tiles = re.findall(r'href="/ui/pipelines\?state=(\w+)"><span class="number">1<', html)
    return Said(status, [word for word in tiles if word != status])


async def _list(client: httpx.AsyncClient) -> Said:
    row = (await _page(client, "/ui/pipelines")).partition('id="pipeline-1"')[2].partition("</tr>")[0]
    (status,) = _texts(row, r'(<span class="status.*?</svg>.*?)</span>')
    also = _texts(row, r'class="below also">also ([^<]*)')
    return Said(status, also[0].split(", ") if also else [])


async def _pipeline_page(client: httpx.AsyncClient) -> Said:
    standing = await _page(client, "/ui/pipelines/1/standing")
    assert f'class="panel standing {(await _api(client)).status}"' in standing
    status, *also = _texts(standing, r'<div class="finding">\s*((?:<a [^>]*>)?<span class="status.*?</svg>.*?)</span>')
    return Said(status, also)


async def _lineage(client: httpx.AsyncClient) -> Said:
    nodes = (await _json(client, "/lineage-graph/?source_address_id=1"))["nodes"]
    (status,) = [node["status"] for node in nodes if node["id"] == 2]
    details = await _page(client, "/lineage-graph/details?source_address_id=2")
    assert f'class="status {status}"' in details
    return Said(status)


async def _metric(client: httpx.AsyncClient) -> Said:
    text = (await client.get("/metrics")).text
    # The two other pipelines have never run.
    counted = {
        word: int(float(number)) for word, number in re.findall(r'watcher_pipelines{status="(\w+)"} (\S+)', text)
    }
    assert counted.keys() == set(Status)
    assert counted.pop("unknown") == 2
    (status,) = [word for word, number in counted.items() if number]
    return Said(status)


PLACES = (_api, _incidents, _overview, _list, _pipeline_page, _lineage, _metric)


@pytest.fixture
def pipeline(engine: Engine) -> int:
    """Pipeline 1 of three: it has run, and writes address 2."""
    draw_addresses(engine, 2)
    draw_edges(engine, [(1, 2)])
    with engine.begin() as connection:
        add_run(connection, 1)
        change_pipeline(connection, 1, schedule="0 0 1 1 *")
    return 1


@pytest.mark.parametrize("kinds", CASES, ids="+".join)
async def test_everybody_says_the_same(
    client: httpx.AsyncClient, engine: Engine, pipeline: int, kinds: tuple[Kind, ...]
) -> None:
    with engine.begin() as connection:
        for number, kind in enumerate(reversed(kinds)):
            # Whoever has taken it, it is still wrong.
            add_incident(connection, pipeline, kind, state=("acknowledged", "open")[number % 2])
        # What is over, or is no pipeline's, is no word.
        for kind in KINDS:
            add_incident(connection, pipeline, kind, resolved_at=ago(minutes=1))
        add_incident(connection, None, Kind.QUEUE, subject="celery")
    worst, *others = [kind.value for kind in kinds]

    for place in PLACES:
        said = await place(client)
        assert (place.__name__, said) == (place.__name__, Said(worst, None if said.also is None else others))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_filter_finds_what_it_names(
    client: httpx.AsyncClient, engine: Engine, pipeline: int, kind: Kind
) -> None:
    with engine.begin() as connection:
        add_incident(connection, pipeline, kind)

    listed = await _page(client, f"/ui/pipelines?state={kind}")
    found = [row["id"] for row in await _json(client, f"/pipeline?state={kind}")]

    assert re.findall(r'id="pipeline-(\d+)"', listed) == ["1"]
    # "late" is a documented state too: that a run is due.
    assert found == ([] if kind is Kind.LATE else [1])
    state = (await _json(client, "/pipeline/1"))["state"]
    assert state == ("missed" if kind is Kind.MISSED else "on_time")


async def test_when_all_is_over_everybody_says_ok(client: httpx.AsyncClient, pipeline: int) -> None:
    assert pipeline
    for place in (_api, _list, _pipeline_page, _lineage, _metric):
        assert (await place(client)).status == "ok"


async def test_a_paused_pipeline_is_paused_everywhere(client: httpx.AsyncClient, engine: Engine, pipeline: int) -> None:
    with engine.begin() as connection:
        add_incident(connection, pipeline, Kind.FAILING)
        change_pipeline(connection, pipeline, active=False)

    for place in (_api, _list, _pipeline_page, _metric):
        said = await place(client)
        assert (said.status, list(said.also or ())) == ("paused", [])
    assert "What is wrong" not in await _page(client, "/ui")


def test_kinds_of_a_pipeline_are_the_words_of_its_status() -> None:
    assert (
        [kind.value for kind in Kind][: len(WRONG)] == [status.value for status in Status][: len(WRONG)] == list(WRONG)
    )
