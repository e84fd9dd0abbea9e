"""How long pages take to their first byte and until they are drawn, over 10,000 pipelines and 1,000,000 runs.

Besides the pages, the list of pipelines as JSON: its first and its last 1,000, and all of it, which goes out in parts.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
from rich.console import Console
from rich.table import Table

from bench.engines import engines, watcher_api
from bench.history import fill_executions
from bench.surroundings import fill_surroundings
from tests.support.live import free_port
from tests.ui.support.browser import find_chromium, new_context, start_browser

AIM_MILLISECONDS = 60
_LARGE_GRAPH = "Lineage, 490 addresses"
_FIRST, _LAST, _ALL = "GET /pipeline, first 1,000", "GET /pipeline, last 1,000", "GET /pipeline, all"
_AIMS = dict.fromkeys((_LARGE_GRAPH, _FIRST, _LAST, _ALL), 40)
_PART = 1_000
_DAYS = 30
_LOADS = 5
_HEADERS = {"Accept": "text/html"}

# When the last of these was over: the load itself, what scripts asked for and got, the largest thing that was painted,
# a chart or graph that says so.
_DRAWN = """
() => new Promise((resolve) => {
  const quiet = 400;
  let last = performance.now();
  const watched = new PerformanceObserver(() => { last = performance.now(); });
  watched.observe({ entryTypes: ["resource", "mark", "largest-contentful-paint", "layout-shift"] });
  const look = () => {
    const waiting = document.readyState !== "complete" || document.querySelector(".htmx-request");
    if (waiting || performance.now() - last < quiet) return setTimeout(look, 20);
    const ends = performance.getEntriesByType("resource").map((entry) => entry.responseEnd);
    const marks = performance.getEntriesByType("mark").map((entry) => entry.startTime);
    const load = performance.getEntriesByType("navigation")[0].loadEventEnd;
    const paint = performance.getEntriesByType("paint").map((entry) => entry.startTime);
    resolve(Math.max(load, ...ends, ...marks, ...paint));
  };
  look();
})
"""


@dataclass(frozen=True)
class Measured:
    """Milliseconds: the very first look, then of many the median, the 95th percentile, and the worst.

    ``whole`` is the median until the last byte.
    """

    first: float
    median: float
    p95: float
    worst: float
    whole: float
    kibibytes: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``python -m bench pages`` takes."""
    parser.add_argument("--executions", type=int, default=1_000_000, help="how many (default 1000000)")
    parser.add_argument("--pipelines", type=int, default=10_000, help="number of pipelines (default 10000)")
    parser.add_argument("--requests", type=int, default=100, help="of each page (default 100)")
    parser.add_argument("--only", default="", help="only pages with this in their address")


def run(arguments: argparse.Namespace, console: Console) -> None:
    """Measure and print."""
    with engines() as services, tempfile.TemporaryDirectory() as logs:
        ids = fill_executions(
            services.database_url,
            pipelines=arguments.pipelines,
            executions=arguments.executions,
            days=_DAYS,
            failing=0.02,
        )
        with psycopg.connect(services.database_url, autocommit=True) as connection:
            root = fill_surroundings(connection, first_pipeline=ids[0], pipelines=len(ids))
            pages = {path: name for name, path in _pages(connection, ids, root).items() if arguments.only in path}
        port = free_port()
        with watcher_api(port, Path(logs), processes=1, WATCHER_HOME=os.environ["WATCHER_HOME"]):
            url = f"http://127.0.0.1:{port}"
            first_bytes = {path: _measure(url, path, arguments.requests) for path in pages}
            drawn = asyncio.run(_draw(url, [path for path in pages if not path.startswith("/pipeline")]))
        console.print(_table(pages, first_bytes, drawn, arguments))


def _pages(connection: psycopg.Connection[tuple[int, ...]], ids: Sequence[int], root: int) -> dict[str, str]:
    found = connection.execute("SELECT min(id) FROM address").fetchone()
    failed = connection.execute("SELECT id FROM task WHERE state = 'FAILURE' LIMIT 1").fetchone()
    assert found
    assert failed
    hub, pipeline = found[0], ids[7]
    incident = connection.execute("SELECT max(root_id) FROM incident").fetchone()
    assert incident
    return {
        "Overview": "/ui",
        "Incidents": "/ui/incidents",
        "Incidents, searched": "/ui/incidents?q=history+7&state=all",
        "Incidents, resolved": "/ui/incidents?state=resolved",
        "Incident": f"/ui/incidents/{incident[0]}",
        "Pipelines": "/ui/pipelines",
        "Pipelines, searched": "/ui/pipelines?q=77&state=failed",
        "Pipelines, by last run": "/ui/pipelines?order=-last_run&page=100",
        "Pipeline, charts": f"/ui/pipelines/{pipeline}",
        "Pipeline, runs": f"/ui/pipelines/{pipeline}?tab=runs",
        "Pipeline, watermarks": f"/ui/pipelines/{pipeline}?tab=watermarks",
        "Execution with 150 children": f"/ui/executions/{root}",
        "Lineage, start": "/lineage-graph",
        "Lineage, one hop": f"/lineage-graph?source_address_id={hub}",
        _LARGE_GRAPH: f"/lineage-graph?source_address_id={hub}&expanded={hub}d480",
        "Anomalies": "/ui/anomalies",
        "Alerts": "/ui/alerts",
        "Reporting": "/reporting",
        "Reporting, of one type": "/reporting?pipeline_type_name=history:+hour",
        "Tasks": "/ui/tasks",
        "Task": f"/ui/tasks/{failed[0]}",
        "Diagnostics": "/diagnostics",
        "Settings": "/ui/settings",
        _FIRST: f"/pipeline?limit={_PART}",
        _LAST: f"/pipeline?limit={_PART}&offset={max(0, len(ids) - _PART)}",
        _ALL: "/pipeline",
    }


def _measure(url: str, path: str, requests: int) -> Measured:
    """The time to the first byte of the body, one request after the other; the very first one by itself."""
    with httpx.Client(base_url=url, headers=_HEADERS, timeout=60) as client:
        first, _, length = _ask(client, path)
        asked = [_ask(client, path) for _ in range(requests)]
    found = sorted(taken for taken, _, _ in asked)
    p95 = found[min(len(found) - 1, int(len(found) * 0.95))]
    whole = statistics.median(taken for _, taken, _ in asked)
    return Measured(first, statistics.median(found), p95, found[-1], whole, length / 1024)


def _ask(client: httpx.Client, path: str) -> tuple[float, float, int]:
    """The milliseconds until the first byte of the body and until the last, and the length."""
    began = time.perf_counter()
    with client.stream("GET", path) as answer:
        answer.raise_for_status()
        chunks = answer.iter_raw()
        length = len(next(chunks, b""))
        first = 1_000 * (time.perf_counter() - began)
        length += sum(len(chunk) for chunk in chunks)
        return first, 1_000 * (time.perf_counter() - began), length


async def _draw(url: str, paths: Sequence[str]) -> dict[str, float]:
    """Until each page is drawn in a browser that has its files: the median of a few loads, in milliseconds."""
    program = find_chromium()
    if program is None:
        return {}
    drawn = {}
    async with start_browser(program) as browser:
        context = await new_context(browser)
        page = await context.new_page()
        for path in paths:
            times = []
            for _ in range(_LOADS + 1):
                await page.goto(url + path)
                times.append(float(await page.evaluate(_DRAWN)))
            drawn[path] = statistics.median(times[1:])
    return drawn


def _table(
    pages: dict[str, str], measured: dict[str, Measured], drawn: dict[str, float], arguments: argparse.Namespace
) -> Table:
    title = f"{arguments.pipelines:,} pipelines, {arguments.executions:,} executions; milliseconds"
    table = Table("page", "first look", "p50", "p95", "worst", "whole", "KiB", "drawn", "aim: p95 <", "")
    table.title = title
    for path, name in pages.items():
        found, aim = measured[path], _AIMS.get(name, AIM_MILLISECONDS)
        table.add_row(
            name,
            f"{found.first:.0f}",
            f"{found.median:.1f}",
            f"{found.p95:.1f}",
            f"{found.worst:.0f}",
            f"{found.whole:.1f}",
            f"{found.kibibytes:.0f}",
            f"{drawn[path]:.0f}" if path in drawn else "",
            str(aim),
            "reached" if found.p95 < aim else "missed",
        )
    return table
