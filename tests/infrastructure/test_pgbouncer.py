"""Watcher through PgBouncer, in session mode and in transaction mode."""

import re
from pathlib import Path
from urllib.parse import quote

import httpx
import psycopg
import pytest
from sqlalchemy import Engine, NullPool, create_engine, text

from tests.cli.commands import Watcher, free_port
from tests.conftest import OWN_PROCESSES, create_database, worker_broker
from tests.support.live import start_live, wait_until
from tests.support.middle import block, pgbouncer
from tests.support.workload import Client, make_workload
from watcher_server.database.engine import sqlalchemy_url
from watcher_server.database.version import PoolerError, require_server

RUNS, OUTLIERS = 30, 3


@pytest.fixture
def database(worker_id: str) -> str:
    """A migrated database whose sessions begin in another time zone than Watcher's."""
    url = create_database(f"watcher_pooled_{worker_id}")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE \"{connection.info.dbname}\" SET timezone = 'Pacific/Kiritimati'".encode())
    return url


ANALYSED = "SELECT count(*) FROM task WHERE name = 'detect_anomalies_task' AND state = 'SUCCESS'"
FLAGGED = "SELECT count(*) FROM pipeline_execution WHERE anomaly_flags <> '{}'"
OTHER_DAYS = """
SELECT count(*) FROM pipeline_execution
WHERE execution_metadata IS NULL AND date_recorded <> (start_date AT TIME ZONE 'UTC')::date
"""


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_runs_are_reported_analysed_and_shown(mode: str, database: str, worker_id: str, tmp_path: Path) -> None:
    engine = create_engine(sqlalchemy_url(database), poolclass=NullPool)
    workload = make_workload(engine, "orders", judged=2)
    direct = {"WATCHER_DATABASE_DIRECT_URL": database} if mode == "transaction" else {}
    limits = {"WATCHER_DETECT_ANOMALIES_RATE_LIMIT": "none"}
    broker = worker_broker(worker_id, OWN_PROCESSES)

    with (
        pgbouncer(database, tmp_path, pool_mode=mode) as pooled,
        start_live(pooled, broker, tmp_path, settings={**direct, **limits}) as live,
    ):
        client = Client([live.url])
        for number in range(RUNS):
            body = workload.start_body(workload.pipelines[number % 2])
            started = httpx.Response(200, content=client.post("/start_pipeline_execution", body)).json()
            client.post("/end_pipeline_execution", workload.end_body(started["id"], outlier=number < OUTLIERS))
        wait_until(lambda: scalar(engine, ANALYSED) == RUNS, "the analysis of every run", 60)
        pages = [httpx.get(f"{live.url}{path}", timeout=30) for path in ("/ui", "/ui/tasks", "/diagnostics")]
        leaked = settings_of_shared_sessions(pooled) if direct else set()

    assert scalar(engine, FLAGGED) == OUTLIERS
    assert scalar(engine, OTHER_DAYS) == 0
    assert [page.status_code for page in pages] == [200, 200, 200]
    assert "Could not be read" not in pages[-1].text
    assert leaked <= {"0"}
    for log in ("api.log", "worker.log"):
        assert not re.search(r"prepared statement|Traceback|waits: ", (tmp_path / log).read_text())


def scalar(engine: Engine, statement: str) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(text(statement)) or 0)


def settings_of_shared_sessions(pooled: str) -> set[str]:
    """The time limits that other programs find in the pooler's sessions: those of the role."""
    with psycopg.connect(pooled, autocommit=True, prepare_threshold=None) as connection:
        row = connection.execute("SELECT current_setting('statement_timeout')").fetchone()
        return {str(row and row[0])}


IGNORING = {"ignore_startup_parameters": "options"}


@pytest.mark.parametrize("settings", [{}, IGNORING], ids=["options refused", "options dropped"])
def test_what_would_work_by_halves_is_refused_with_what_to_do(
    settings: dict[str, str], database: str, tmp_path: Path
) -> None:
    elsewhere = re.sub(r"/watcher_pooled\w*", "/postgres", database)
    with pgbouncer(database, tmp_path, **settings) as pooled:
        with pytest.raises(PoolerError, match=r"mode: set WATCHER_DATABASE_DIRECT_URL to the server behind it"):
            require_server(pooled)
        with pytest.raises(PoolerError, match=r"^WATCHER_DATABASE_DIRECT_URL leads through a pooler in transaction"):
            require_server(pooled, pooled)
        with pytest.raises(PoolerError, match=r"^The pooler of WATCHER_DATABASE_URL takes no `options`"):
            require_server(f"{pooled}?options={quote('-csearch_path=own')}")
        with pytest.raises(PoolerError, match=r"leads to watcher_pooled.*: name the same database"):
            require_server(pooled, elsewhere)


def test_a_command_says_so_in_one_sentence(database: str, tmp_path: Path) -> None:
    watcher = Watcher(tmp_path / "home", free_port(), tmp_path)
    with pgbouncer(database, tmp_path) as pooled:
        refused = watcher.run("migrate", database_url=pooled)
        done = watcher.run("migrate", database_url=pooled, database_direct_url=database)

    assert refused.stderr.count("\n") == 1
    assert refused.stderr.startswith("watcher: WATCHER_DATABASE_URL leads through a pooler in transaction mode")
    assert done.returncode == 0, done.stderr


def test_session_mode_needs_no_other_url(database: str, tmp_path: Path) -> None:
    with pgbouncer(database, tmp_path, pool_mode="session") as pooled:
        require_server(pooled)


def test_the_role_of_the_document_gives_the_schema_through_every_pooler(database: str, tmp_path: Path) -> None:
    statements = block("sql", "CREATE SCHEMA").replace("watcher", "documented")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(statements.encode())
        try:
            direct = database.replace("postgres@", "documented@", 1)
            with pgbouncer(direct, tmp_path) as pooled, psycopg.connect(pooled) as guest:
                row = guest.execute("SELECT current_schema()").fetchone()
            assert row == ("documented",)
        finally:
            connection.execute("DROP OWNED BY documented CASCADE")
            connection.execute("DROP ROLE documented")
