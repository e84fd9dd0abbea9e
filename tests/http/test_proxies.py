"""The proxies of ``docs/proxies.md``, with the lines that stand there, in front of a live Watcher."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.conftest import create_database, worker_broker
from tests.deploy.tools import find_program
from tests.http.test_splitting import compare_with_fresh_connections
from tests.support.live import LiveServer, free_port, start_live, wait_until


@pytest.fixture(scope="module")
def proxied(worker_id: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A Watcher that answers proxies without a token: the bodies are the subject here."""
    database_url = create_database(f"watcher_proxied_{worker_id}")
    logs = tmp_path_factory.mktemp("proxied")
    open_to_all = {"WATCHER_ALLOW_UNAUTHENTICATED": "true"}
    with start_live(database_url, worker_broker(worker_id, 2), logs, settings=open_to_all) as server:
        yield server


DOCUMENT = Path(__file__).parents[2] / "docs" / "proxies.md"
HOW_TO_GET_IT = "run tests/debian-packages.sh, or apt-get install nginx haproxy caddy"
ROOT = Path(__file__).parents[2]


def _lines(name: str, live: LiveServer, port: int) -> str:
    """The block of the document for that proxy, with the test's addresses and without TLS."""
    block = re.search(rf"^```{name}\n(.*?)^```", DOCUMENT.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert block is not None
    lines = [line for line in block[1].splitlines() if "ssl_certificate" not in line]
    text = "\n".join(lines).replace("127.0.0.1:8000", urlsplit(live.url).netloc)
    return re.sub(r"(?<=listen )443 ssl|(?<=bind ):443 ssl crt \S+", f"127.0.0.1:{port}", text)


def _nginx(live: LiveServer, port: int, folder: Path) -> list[str]:
    configuration = folder / "nginx.conf"
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration.write_text(
        f"daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx.log; events {{}}\n"
        f"http {{ access_log off; {temporary}\n{_lines('nginx', live, port)}\n}}\n"
    )
    return [find_program("nginx", ".venv-debian/usr/sbin", HOW_TO_GET_IT), "-c", str(configuration), "-p", str(folder)]


def _haproxy(live: LiveServer, port: int, folder: Path) -> list[str]:
    configuration = folder / "haproxy.cfg"
    configuration.write_text(_lines("haproxy", live, port) + "\n")
    return [find_program("haproxy", ".venv-debian/usr/sbin", HOW_TO_GET_IT), "-db", "-f", str(configuration)]


def _caddy(live: LiveServer, port: int, folder: Path) -> list[str]:
    configuration = folder / "Caddyfile"
    lines = _lines("caddy", live, port).replace("watcher.example", f"http://:{port}")
    # Its port for administration may be taken, and it stores nothing here.
    configuration.write_text(f"{{\n    admin off\n    storage file_system {folder}\n}}\n{lines}\n")
    program = find_program("caddy", ".venv-debian/usr/bin", HOW_TO_GET_IT)
    return [program, "run", "--adapter", "caddyfile", "--config", str(configuration)]


PROXIES = {"nginx": _nginx, "haproxy": _haproxy, "caddy": _caddy}


@contextmanager
def _proxy(name: str, live: LiveServer, folder: Path) -> Iterator[str]:
    port = free_port()
    libraries = ROOT / ".venv-debian" / "usr" / "lib" / "x86_64-linux-gnu"
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            PROXIES[name](live, port, folder),
            env={"LD_LIBRARY_PATH": str(libraries), "HOME": str(folder)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _answers(url), f"{name} ({folder}/output)")
        yield url
    finally:
        process.terminate()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/live").status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.parametrize("name", PROXIES)
def test_no_body_reaches_into_the_next_request_on_a_proxys_kept_connection(
    name: str, proxied: LiveServer, tmp_path: Path
) -> None:
    with _proxy(name, proxied, tmp_path) as url:
        compare_with_fresh_connections(url, proxied, seed=11)
