"""What companies put between a program and its PostgreSQL: PgBouncer and HAProxy, from Debian's packages."""

import re
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.deploy.tools import ROOT, find_program
from tests.support.live import free_port, wait_until
from watcher_server.embedded.account import engine_account

HOW_TO_GET_IT = "run tests/debian-packages.sh, or apt-get install pgbouncer haproxy"
DOCUMENT = ROOT / "docs" / "postgresql.md"


def block(language: str, containing: str) -> str:
    """The block of docs/postgresql.md in that language that contains the text."""
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT.read_text(), flags=re.MULTILINE | re.DOTALL)
    return next(text for text in found if containing in text)


@contextmanager
def _running(name: str, arguments: Sequence[str], folder: Path, port: int) -> Iterator[None]:
    libraries = ROOT / ".venv-debian" / "usr" / "lib" / "x86_64-linux-gnu"
    with (folder / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            [find_program(name, ".venv-debian/usr/sbin", HOW_TO_GET_IT), *arguments],
            env={"LD_LIBRARY_PATH": str(libraries), "HOME": str(folder)},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(lambda: _listens(port), f"{name} ({folder}/{name}.log)")
        yield
    finally:
        process.terminate()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def pgbouncer(database_url: str, folder: Path, **settings: str) -> Iterator[str]:
    """The URL of that database through a PgBouncer with these settings, besides those of the document."""
    given = psycopg.conninfo.conninfo_to_dict(database_url)
    port, account = free_port(), engine_account()
    users = folder / "users.txt"
    users.write_text(f'"{given["user"]}" "no password"\n')
    server = f"host={given['host']} port={given.get('port', 5432)} dbname={given['dbname']}"
    own = {
        "listen_addr": "127.0.0.1",
        "listen_port": str(port),
        "unix_socket_dir": "",
        "auth_type": "trust",
        "auth_file": str(users),
    }
    # PgBouncer does not run as root.
    own |= {"user": "watcher"} if account.switches else {}
    text = block("ini", "[pgbouncer]").partition("[pgbouncer]")[2]
    known = dict(re.findall(r"^(\w+) *= *(.*)$", text, flags=re.MULTILINE))
    lines = [f"{name} = {value}" for name, value in {**known, **own, **settings}.items()]
    configuration = folder / "pgbouncer.ini"
    configuration.write_text("\n".join([f"[databases]\n* = {server}", "[pgbouncer]", *lines, ""]))
    with _running("pgbouncer", [str(configuration)], folder, port):
        yield f"postgresql://{given['user']}@127.0.0.1:{port}/{given['dbname']}"


@contextmanager
def haproxy(ports: Sequence[int], folder: Path) -> Iterator[int]:
    """The port of an HAProxy that leads to the primary among these, with the lines of the document."""
    port = free_port()
    one, two = ports
    lines = block("haproxy", "pg_is_in_recovery").replace("bind :5000", f"bind 127.0.0.1:{port}")
    lines = lines.replace("10.0.0.1:5432", f"127.0.0.1:{one}").replace("10.0.0.2:5432", f"127.0.0.1:{two}")
    configuration = folder / "haproxy.cfg"
    configuration.write_text(lines + "\n")
    with _running("haproxy", ["-db", "-f", str(configuration)], folder, port):
        yield port
