"""The proxies of ``docs/proxies.md``, with the lines that stand there, in front of a Watcher."""

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.deploy.tools import find_program
from tests.support.certificates import Pair
from tests.support.live import free_port, wait_until

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "proxies.md"
HOW_TO_GET_IT = "run tests/debian-packages.sh, or apt-get install nginx haproxy caddy"


@dataclass(frozen=True)
class Place:
    """Where a proxy is: before the api at ``upstream`` (host and port), on a port, with its files in a folder.

    ``pair``: it ends TLS. ``under_path``: with the lines for ``/watcher/``. ``source``: where it connects from.
    """

    upstream: str
    port: int
    folder: Path
    pair: Pair | None = None
    under_path: bool = False
    source: str | None = None


def _block(name: str) -> str:
    found = re.search(rf"^```{name}\n(.*?)^```", DOCUMENT.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert found is not None, name
    return found[1]


def _lines(name: str, place: Place) -> str:
    """The block of the document for that proxy, with the test's addresses."""
    lines = _block(name).replace("127.0.0.1:8000", place.upstream)
    if place.pair is None:
        lines = re.sub(r".*ssl_certificate.*\n", "", lines)
        lines = lines.replace("listen 443 ssl", f"listen 127.0.0.1:{place.port}")
        return re.sub(r"bind :443 ssl crt \S+", f"bind 127.0.0.1:{place.port}", lines)
    both = place.folder / "both.pem"
    both.write_text(place.pair.certificate.read_text() + place.pair.key.read_text())
    lines = re.sub(r"(ssl_certificate(?:_key)?) \S+;", rf"\1 {both};", lines)
    lines = lines.replace("listen 443 ssl", f"listen 127.0.0.1:{place.port} ssl")
    return re.sub(r"bind :443 ssl crt \S+", f"bind 127.0.0.1:{place.port} ssl crt {both}", lines)


def _nginx(place: Place) -> list[str]:
    lines, folder = _lines("nginx", place), place.folder
    if place.under_path:
        lines = lines.replace("    location / {\n", _block("nginx-path"))
    if place.source:
        lines = lines.replace("proxy_http_version", f"proxy_bind {place.source};\n        proxy_http_version")
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx.log; events {{}}\n"
        f"http {{ access_log off; {temporary}\n{lines}\n}}\n"
    )
    return [find_program("nginx", ".venv-debian/usr/sbin", HOW_TO_GET_IT), "-c", str(configuration), "-p", str(folder)]


def _haproxy(place: Place) -> list[str]:
    lines = _lines("haproxy", place)
    if place.under_path:
        lines = lines.replace("    default_backend api\n", _block("haproxy-path"))
    if place.source:
        lines = lines.replace("http-reuse safe", f"http-reuse safe\n    source {place.source}")
    configuration = place.folder / "haproxy.cfg"
    configuration.write_text(lines + "\n")
    return [find_program("haproxy", ".venv-debian/usr/sbin", HOW_TO_GET_IT), "-db", "-f", str(configuration)]


def _caddy(place: Place) -> list[str]:
    configuration = place.folder / "Caddyfile"
    lines = _lines("caddy", place).replace("watcher.example", f"http://:{place.port}")
    # Its port for administration may be taken, and it stores nothing here.
    configuration.write_text(f"{{\n    admin off\n    storage file_system {place.folder}\n}}\n{lines}\n")
    program = find_program("caddy", ".venv-debian/usr/bin", HOW_TO_GET_IT)
    return [program, "run", "--adapter", "caddyfile", "--config", str(configuration)]


PROXIES: dict[str, Callable[[Place], list[str]]] = {"nginx": _nginx, "haproxy": _haproxy, "caddy": _caddy}


@contextmanager
def start_proxy(
    name: str,
    upstream: str,
    folder: Path,
    *,
    port: int | None = None,
    pair: Pair | None = None,
    under_path: bool = False,
    source: str | None = None,
) -> Iterator[str]:
    """Run the proxy; the URL under which it shows Watcher."""
    place = Place(upstream, port or free_port(), folder, pair, under_path, source)
    libraries = ROOT / ".venv-debian" / "usr" / "lib" / "x86_64-linux-gnu"
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            PROXIES[name](place),
            env={"LD_LIBRARY_PATH": str(libraries), "HOME": str(folder)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    url = f"{'https' if pair else 'http'}://127.0.0.1:{place.port}{'/watcher' if under_path else ''}"
    try:
        wait_until(lambda: _answers(url), f"{name} ({folder}/output)")
        yield url
    finally:
        process.terminate()
        process.wait()


def _answers(url: str) -> bool:
    try:
        # The certificate is the test's own.
        return httpx.get(f"{url}/health/live", verify=False).status_code == 200  # noqa: S501
    except httpx.HTTPError:
        return False
