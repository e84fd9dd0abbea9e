"""``watcher dbt upload`` as a user runs it, against a real api."""

import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest


def upload(*arguments: str | Path, url: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "watcher_server.cli.main", "dbt", "upload", *map(str, arguments)]
    known = {name: value for name, value in os.environ.items() if not name.startswith(("WATCHER_", "OPENLINEAGE_"))}
    address = {"WATCHER_URL": url} if url else {}
    environment = {**known, **address, **environment}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)


def refusal(*arguments: str | Path, url: str | None = None, **environment: str) -> str:
    """The one sentence on standard error."""
    done = upload(*arguments, url=url, **environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    return done.stderr.removeprefix("watcher: ")


def test_a_target_folder_is_sent_once(api: str, targets: Path) -> None:
    done = upload(targets / "broken", url=api)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{targets / 'broken'}: 11 executions and 2 sources stored.\n"
    again = upload(targets / "broken", url=api)
    assert again.stdout.endswith("nothing changed: these files were applied before.\n")


def test_names_come_from_the_settings_of_openlineage(api: str, targets: Path) -> None:
    names = {"OPENLINEAGE_NAMESPACE": "prod", "OPENLINEAGE_DBT_JOB_NAME": "nightly"}
    assert upload(targets / "run", "--dataset-namespace", "duckdb://x", "--url", api, **names).returncode == 0
    assert "prod/nightly" in {row["name"] for row in httpx.get(f"{api}/pipeline").json()}
    assert "duckdb://x/shop.main.orders" in {row["name"] for row in httpx.get(f"{api}/address").json()}


def test_what_is_not_there_is_said(tmp_path: Path, targets: Path) -> None:
    assert refusal(tmp_path / "nowhere").startswith(f"There is no folder {tmp_path / 'nowhere'}: ")
    assert refusal(tmp_path).startswith(f"{tmp_path} has no manifest.json: ")
    (tmp_path / "manifest.json").write_bytes((targets / "run" / "manifest.json").read_bytes())
    assert "none of run_results.json, sources.json, freshness.json: run dbt build" in refusal(tmp_path)


def test_what_watcher_refuses_is_said(api: str, tmp_path: Path, targets: Path) -> None:
    for name in ("manifest.json", "run_results.json"):
        raw = (targets / "run" / name).read_bytes()
        (tmp_path / name).write_bytes(raw.replace(b"manifest/v12", b"manifest/v77"))
    assert "took nothing (422): manifest.json has the schema manifest v77; Watcher reads v9" in refusal(
        tmp_path, url=api
    )


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://127.0.0.1:9", "No Watcher answers at http://127.0.0.1:9: "),
        ("watcher.example", "watcher.example is not an address of a Watcher: "),
    ],
)
def test_no_watcher_is_said(targets: Path, url: str, sentence: str) -> None:
    assert refusal(targets / "run", "--url", url).startswith(sentence)


class _Other(BaseHTTPRequestHandler):
    """A server that is no Watcher, or is busy: the first part of the path is the status."""

    busy = 2

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        assert self.rfile.read(length).startswith(b"\x1f\x8b")
        status = int(self.path.split("/")[1])
        body = b"<html>"
        if status == 503:
            _Other.busy -= 1
            status, body = (503, b"{}") if _Other.busy >= 0 else (200, b'{"message": "stored"}')
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_other_answers_are_said_and_a_busy_watcher_is_asked_again(targets: Path) -> None:
    server = HTTPServer(("127.0.0.1", 0), _Other)
    Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    assert "asks for a token" in refusal(targets / "run", url=f"{url}/401")
    assert "(500): its answer is not that of a Watcher" in refusal(targets / "run", url=f"{url}/500")
    assert "is no Watcher, or an older one" in refusal(targets / "run", url=f"{url}/200")
    assert upload(targets / "run", url=f"{url}/503").stdout.endswith("stored.\n")
    server.shutdown()


def test_a_token_with_strange_characters_is_refused_before_it_is_sent(targets: Path) -> None:
    assert refusal(targets / "run", url="http://127.0.0.1:9", WATCHER_TOKEN="wät").startswith(
        "The token has characters"
    )
