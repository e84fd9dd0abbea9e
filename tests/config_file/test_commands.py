"""``watcher apply`` and ``watcher export`` as a user runs them, against a real api."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.live import LiveServer

FILE = """\
version: 1
calendars:
  office: {zone: Europe/Berlin, weekly: mon-fri 08:00-18:00, except: [2026-12-25]}
routes:
  - {name: calm, match: {owner: finance}, to: default, hours: {calendar: office, except: CRITICAL}}
"""


def run(*arguments: str | Path, url: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "watcher_server.cli.main", *map(str, arguments)]
    known = {name: value for name, value in os.environ.items() if not name.startswith("WATCHER_")}
    environment = {**known, "WATCHER_URL": url}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)


@pytest.fixture
def api(live: LiveServer) -> Iterator[str]:
    yield live.url
    nothing = {"document": {"version": 1}, "origin": "watcher.yaml", "prune": True}
    httpx.post(f"{live.url}/alerting/apply", json=nothing).raise_for_status()


def test_a_file_is_tried_applied_exported_and_applied_again(api: str, tmp_path: Path) -> None:
    file, exported = tmp_path / "watcher.yaml", tmp_path / "out" / "watcher.yaml"
    file.write_text(FILE)
    tried = run("apply", "-f", file, "--dry-run", url=api)
    assert tried.stdout.splitlines() == [
        "+ calendar office",
        "+ route calm",
        "2 added, 0 changed, 0 removed, 0 unchanged; this was a dry run, and nothing was done.",
    ]
    assert run("apply", "-f", file, url=api).stdout.endswith("2 added, 0 changed, 0 removed, 0 unchanged.\n")
    exported.parent.mkdir()
    assert run("export", "-f", exported, url=api).returncode == 0
    again = run("apply", "-f", exported, "--prune", url=api)
    assert (again.returncode, again.stdout) == (0, "0 added, 0 changed, 0 removed, 2 unchanged.\n")
    assert run("export", url=api).stdout == exported.read_text()
    file.write_text("version: 1\n")
    assert run("apply", "-f", file, url=api).stdout.splitlines()[0] == (
        "? route calm: is in the file no more; --prune removes it"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version: 1\nroutes:\n  - {name: r, to: pager}\n", "line 3, column 19: 'to' names the channel 'pager'"),
        ("version: 1\nversion: 1\n", "line 2, column 1: 'version' is there twice."),
        ("- 1\n", "line 1, column 1: the file must begin with version: 1."),
    ],
)
def test_a_mistake_is_one_sentence(api: str, tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "watcher.yaml"
    file.write_text(text)
    done = run("apply", "-f", file, url=api)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(f"watcher: {file}, {said}")


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    file = tmp_path / "watcher.yaml"
    assert f"{file} cannot be read: No such file" in run("apply", "-f", file, url="http://127.0.0.1:9").stderr
    file.write_text(FILE)
    assert "No Watcher answers at http://127.0.0.1:9: " in run("apply", "-f", file, url="http://127.0.0.1:9").stderr
