"""Every way to name a PostgreSQL server in a URL."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psycopg
import pytest
from sqlalchemy import NullPool, text

from tests.cli.commands import Watcher, free_port
from tests.conftest import serve
from tests.embedded.homes import temporary_home
from tests.support.certificates import Pair, certificate
from tests.support.middle import pgbouncer
from tests.support.postgres_pair import PostgresNode, postgres_node
from watcher_server.app import create_app
from watcher_server.cli.checks import require_database
from watcher_server.cli.errors import CommandError
from watcher_server.database.engine import database_engine, session_settings
from watcher_server.database.migrate import is_current, migrate
from watcher_server.kit.libpq import libpq_parameters
from watcher_server.settings import load_settings

PASSWORD = "p@ss/w:rd"
ENCODED = "p%40ss%2Fw%3Ard"


@dataclass(frozen=True)
class Server:
    """A server, two PgBouncers that speak TLS for it, and the files of their certificate, which is also a client's.

    The server of the wheel is built without TLS.
    """

    node: PostgresNode
    encrypted: int
    certified: int
    pair: Pair

    def url(self, form: str) -> str:
        """A URL of that form, with the ports, folder and files of these."""
        return form.format(
            port=self.node.port,
            encrypted=self.encrypted,
            certified=self.certified,
            folder=self.node.sockets,
            cert=self.pair.certificate,
            key=self.pair.key,
            password=ENCODED,
        )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pair = certificate(tmp_path_factory.mktemp("tls"))
    pair.key.chmod(0o600)
    files = {"client_tls_cert_file": str(pair.certificate), "client_tls_key_file": str(pair.key)}
    asks = {"client_tls_sslmode": "verify-full", "client_tls_ca_file": str(pair.certificate), "auth_type": "cert"}
    with postgres_node() as node:
        rules = node.data / "pg_hba.conf"
        rules.write_text("host all lector all scram-sha-256\n" + rules.read_text())
        node.start()
        node.execute(
            "CREATE ROLE localhost LOGIN SUPERUSER",
            f"CREATE ROLE lector LOGIN SUPERUSER PASSWORD '{PASSWORD}'",
            "CREATE DATABASE watcher",
        )
        url, session = f"postgresql://localhost@127.0.0.1:{node.port}/watcher", {"pool_mode": "session"}
        with (
            pgbouncer(url, tmp_path_factory.mktemp("one"), **session, **files, client_tls_sslmode="require") as one,
            pgbouncer(url, tmp_path_factory.mktemp("two"), **session, **files, **asks) as two,
        ):
            yield Server(node, port_of(one), port_of(two), pair)


def port_of(url: str) -> int:
    return int(libpq_parameters(url)["port"])


FORMS = {
    "tcp": "postgresql://postgres@127.0.0.1:{port}/watcher",
    "ipv6": "postgresql://postgres@[::1]:{port}/watcher",
    "socket": "postgresql://postgres@/watcher?host={folder}&port={port}",
    "several hosts, the first away": "postgresql://postgres@127.0.0.1:1,[::1]:{port}/watcher",
    "a password with special characters": "postgres://lector:{password}@127.0.0.1:{port}/watcher",
    "sqlalchemy's scheme": "postgresql+psycopg://postgres@127.0.0.1:{port}/watcher",
    "the server's certificate checked": "postgresql://localhost@localhost:{encrypted}/watcher"
    "?sslmode=verify-full&sslrootcert={cert}",
    "a client's certificate": "postgresql://localhost@localhost:{certified}/watcher"
    "?sslmode=verify-full&sslrootcert={cert}&sslcert={cert}&sslkey={key}",
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
async def test_migrations_the_api_and_tasks_take_the_url(server: Server, form: str) -> None:
    settings = load_settings(relay_enabled=False, database_url=server.url(form))
    require_database(settings.database)
    migrate(settings.database)

    assert is_current(settings.database)
    engine = database_engine(settings.database, session_settings(timeout_seconds=10), poolclass=NullPool)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT current_setting('timezone')")) == "UTC"
        driver: Any = connection.connection.dbapi_connection
        assert driver.pgconn.ssl_in_use or "sslmode" not in form
    assert PASSWORD not in repr(engine)
    assert ENCODED not in repr(engine)
    async with serve(create_app(settings)) as client:
        await report_a_run(client)


async def report_a_run(client: httpx.AsyncClient) -> None:
    registered = await client.post("/pipeline", json={"name": "orders", "pipeline_type_name": "load"})
    started = await client.post("/start_pipeline_execution", json={"pipeline_id": registered.json()["id"]})
    end: dict[str, Any] = {"id": started.json()["id"], "completed_successfully": True}
    assert (await client.post("/end_pipeline_execution", json=end)).is_success


def test_a_certificate_for_another_name_is_refused(server: Server) -> None:
    url = server.url(FORMS["the server's certificate checked"]).replace("@localhost:", "@127.0.0.1:")

    with pytest.raises(CommandError, match=r"The database cannot be reached \(.*certificate"):
        require_database(url)


def test_a_backup_of_a_schema_becomes_the_embedded_database(server: Server, tmp_path: Path) -> None:
    own = quote("-csearch_path=own")
    url = server.url("postgresql://lector:{password}@127.0.0.1:1,127.0.0.1:{port}/watcher?options=") + own
    server.node.execute("ALTER ROLE lector NOSUPERUSER")
    with psycopg.connect(server.node.url, dbname="watcher", autocommit=True) as connection:
        connection.execute("CREATE SCHEMA own AUTHORIZATION lector")
    file = tmp_path / "own.backup"

    with temporary_home() as home:
        watcher = Watcher(home, free_port(), tmp_path)
        for command in (["migrate"], ["token", "create", "kept"], ["backup", str(file)]):
            done = watcher.run(*command, database_url=url)
            assert (done.returncode, PASSWORD in done.stderr) == (0, False), done.stderr
        restored = watcher.run("restore", str(file))

        assert restored.returncode == 0, restored.stderr
        assert "kept" in watcher.run("token", "list").stdout
