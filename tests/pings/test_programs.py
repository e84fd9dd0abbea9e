"""What people ping with, against a real api: curl, wget, Python, and the hooks of backup programs."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.live import LiveServer, free_port, wait_until
from watcher_server.web.pipelines.detail.recipes import ping_recipes


@pytest.fixture
def api(live: LiveServer) -> Iterator[httpx.Client]:
    """A client of the real api."""
    with httpx.Client(base_url=live.url) as client:
        yield client


def new_url(api: httpx.Client, name: str) -> str:
    """The ping URL of a new pipeline."""
    made: str = api.post("/ping_url", json={"name": name}).raise_for_status().json()["ping_url"]
    return made


def run_of(api: httpx.Client, url: str) -> dict[str, Any]:
    """The only run of the pipeline of a URL, with its output."""
    pipelines = [api.get(f"/pipeline/{found['id']}").json() for found in api.get("/pipeline").json()]
    pipeline_id = next(pipeline["id"] for pipeline in pipelines if pipeline["ping_url"] == url)
    (run,) = api.get("/pipeline_execution", params={"pipeline_id": pipeline_id}).json()
    return {**run, "output": api.get(f"/pipeline_execution/{run['id']}/output").text}


def sh(script: str, folder: Path) -> str:
    """What a shell prints that runs the script there."""
    done = subprocess.run(["sh", "-c", script], cwd=folder, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a load that fails with status 3."""
    script = tmp_path / "load.sh"
    script.write_text("#!/bin/sh\necho loading; exit 3\n")
    script.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("number", [0, 1])
def test_the_lines_for_the_crontab_report_the_exit_status(api: httpx.Client, folder: Path, number: int) -> None:
    url = new_url(api, f"recipe {number}")
    line = ping_recipes(url, "recipe", "* * * * *", "UTC")[number].lines
    sh(line.removeprefix("* * * * * "), folder)
    run = run_of(api, url)
    assert (run["completed_successfully"], run["execution_metadata"]) == (False, {"exit_status": 3})


@pytest.mark.parametrize(
    ("name", "command", "output"),
    [
        ("get", "curl -fsS {url}", ""),
        ("head", "curl -fsSI {url} >/dev/null && echo -n", ""),
        ("post", "curl -fsS --data-raw 'all done' {url}", "all done"),
        ("chunked", "echo line | curl -fsS -T - -X POST {url}", "line\n"),
        ("expect", "head -c 3000000 /dev/zero | tr '\\0' x | curl -fsS --data-binary @- {url}", "x" * 100_000),
        ("http10", "curl -fsS --http1.0 -d done {url}", "done"),
        ("offer", "curl -fsS --http2 -d done {url}", "done"),
        ("form", "curl -fsS -F file=@load.sh {url} >/dev/null && echo -n", None),
        ("wget", "wget -q -T 10 -t 3 -O - {url}", ""),
        ("wget body", "wget -q -O - --post-data='from wget' {url}", "from wget"),
        ("wget file", "echo kept > out.txt; wget -q -O - --post-file=out.txt {url}", "kept\n"),
    ],
)
def test_curl_and_wget(api: httpx.Client, folder: Path, name: str, command: str, output: str | None) -> None:
    url = new_url(api, f"program {name}")
    printed = sh(command.format(url=url), folder)
    assert printed == ("" if "echo -n" in command else "OK")
    run = run_of(api, url)
    assert run["completed_successfully"] is True
    assert output is None or run["output"] == output


def test_the_lines_of_python(api: httpx.Client) -> None:
    url = new_url(api, "recipe python")
    lines = next(recipe.lines for recipe in ping_recipes(url, None, None, "UTC") if recipe.title == "Python")
    subprocess.run([sys.executable, "-c", f"def load(): return 7\n{lines}"], check=True, timeout=60)
    run = run_of(api, url)
    assert (run["inserts"], run["next_watermark"]) == (7, "2026-01-03")


def test_the_hooks_of_borgmatic(api: httpx.Client) -> None:
    """It sends each state as POST with its log as body, to the URL itself at the end."""
    url = new_url(api, "borgmatic")
    for suffix, log in (("/start", ""), ("/log", "Creating archive"), ("", "repo: Creating archive\nDone")):
        httpx.post(f"{url}{suffix}", content=log.encode(), headers={"User-Agent": "borgmatic"}).raise_for_status()
    run = run_of(api, url)
    assert run["completed_successfully"] is True
    assert run["output"] == "Creating archive\nrepo: Creating archive\nDone"


def test_the_hooks_of_resticprofile(api: httpx.Client) -> None:
    """It asks with HEAD before and after, and sends its error as text when it failed."""
    url = new_url(api, "restic")
    httpx.head(f"{url}/start").raise_for_status()
    body = "exit status 1\n\nFatal: unable to open repository"
    httpx.post(f"{url}/fail", content=body, headers={"Content-Type": "text/plain; charset=UTF-8"}).raise_for_status()
    run = run_of(api, url)
    assert (run["completed_successfully"], run["output"]) == (False, body)


def test_pings_at_once_leave_no_run_open_and_none_twice(api: httpx.Client) -> None:
    url = new_url(api, "at once")
    statuses = []

    def ping() -> None:
        statuses.append(httpx.get(url).status_code)

    threads = [threading.Thread(target=ping) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 20
    pipeline = next(found for found in api.get("/pipeline").json() if found["name"] == "at once")
    runs = api.get("/pipeline_execution", params={"pipeline_id": pipeline["id"]}).json()
    assert len(runs) == 20
    assert all(run["end_date"] for run in runs)


def test_a_failed_ping_opens_an_incident_with_its_last_lines(api: httpx.Client, live: LiveServer) -> None:
    url = new_url(api, "incident")
    httpx.post(f"{url}/1", content="reading\nno space left on device")
    pipeline = next(found for found in api.get("/pipeline").json() if found["name"] == "incident")

    def is_open() -> bool:
        found = api.get("/incident", params={"pipeline_id": pipeline["id"]}).json()
        return "no space left on device" in str(found)

    wait_until(is_open, "an incident")
    log = (live.logs / "api.log").read_text() + (live.logs / "worker.log").read_text()
    assert url.rpartition("/")[2] not in log


def test_no_log_line_of_a_uvicorn_that_was_started_by_hand_has_the_secret(
    api: httpx.Client, live: LiveServer, tmp_path: Path
) -> None:
    url = new_url(api, "by hand")
    log, port = tmp_path / "uvicorn.log", free_port()
    environment = {**os.environ, "WATCHER_DATABASE_URL": live.database_url, "WATCHER_BROKER_URL": live.broker_url}
    command = [sys.executable, "-m", "uvicorn", "--factory", "watcher_server.app:create_app", "--port", str(port)]
    path = httpx.URL(url).path
    with log.open("wb") as output, subprocess.Popen(command, env=environment, stdout=output, stderr=output) as process:
        try:
            # It listens only after the application has started.
            wait_until(lambda: "Uvicorn running on" in log.read_text(), "uvicorn listening")
            assert httpx.get(f"http://127.0.0.1:{port}{path}/start").text == "OK"
        finally:
            process.terminate()
    assert "/ping/***/start" in log.read_text()
    assert path.rpartition("/")[2] not in log.read_text()
