"""Which tables are Watcher's, and in which schema, beside other programs in the same database."""

from collections.abc import Iterator
from urllib.parse import quote

import httpx
import psycopg
import pytest

from tests.conftest import MakeClient, create_database
from watcher_server.database.migrate import SchemaError, current_revision, head_revision, is_current, migrate

FOREIGN = """
CREATE TABLE alembic_version (version_num varchar(32) CONSTRAINT alembic_version_pkc PRIMARY KEY);
INSERT INTO alembic_version VALUES ('0001');
"""


@pytest.fixture
def shared_database(worker_id: str) -> str:
    """A database that others use, where nobody but its owner may make a schema or tables in public."""
    url = create_database(f"watcher_shared_{worker_id}", "template0")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE orders (id bigint)")
        connection.execute(FOREIGN)
    return url


@pytest.fixture
def guest(shared_database: str, worker_id: str) -> Iterator[str]:
    """The URL of a role that has a schema in that database, and no other right."""
    name = f"guest_{worker_id}"
    url = shared_database.replace("postgres@", f"{name}@", 1)
    with psycopg.connect(shared_database, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE".encode())
        connection.execute(f"CREATE SCHEMA own AUTHORIZATION {name}".encode())
        yield url
        connection.execute(f"DROP OWNED BY {name} CASCADE".encode())
        connection.execute(f"DROP ROLE {name}".encode())


def in_schema(url: str, schemas: str) -> str:
    return f"{url}&options={quote(f'-csearch_path={schemas}')}"


def tables(url: str, schema: str) -> set[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [schema])
        return {str(name) for (name,) in rows}


async def test_a_role_that_owns_only_its_schema_can_do_everything(
    guest: str, shared_database: str, make_client: MakeClient
) -> None:
    url = in_schema(guest, "own")
    migrate(url)

    assert is_current(url)
    assert "pipeline_execution" in tables(shared_database, "own")
    assert tables(shared_database, "public") == {"orders", "alembic_version"}
    async with make_client(database_url=url) as client:
        await report_a_run(client)
        diagnosis = await client.get("/diagnostics")
        ready = (await client.get("/health/ready")).json()
    assert diagnosis.is_success
    assert "Could not be read" not in diagnosis.text
    assert ready["checks"]["migrations"]["ok"]


async def report_a_run(client: httpx.AsyncClient) -> None:
    pipeline = {"name": "orders", "pipeline_type_name": "load"}
    pipeline_id = (await client.post("/pipeline", json=pipeline)).json()["id"]
    started = await client.post("/start_pipeline_execution", json={"pipeline_id": pipeline_id})
    end = {"id": started.json()["id"], "completed_successfully": True}
    assert (await client.post("/end_pipeline_execution", json=end)).status_code < 300


@pytest.mark.parametrize(
    ("schemas", "sentence"),
    [
        ("nowhere", r"No schema of the search_path \(nowhere\) exists"),
        ("public", "may not create tables in the schema"),
    ],
)
def test_a_schema_that_cannot_take_the_tables_is_one_sentence(guest: str, schemas: str, sentence: str) -> None:
    with pytest.raises(SchemaError, match=sentence):
        migrate(in_schema(guest, schemas))


def test_the_version_of_another_program_in_the_same_schema_is_left_alone(shared_database: str) -> None:
    assert current_revision(shared_database) is None

    migrate(shared_database)

    with psycopg.connect(shared_database) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("0001",)]
    assert current_revision(shared_database) == head_revision()


def test_the_table_of_versions_that_was_ours_under_its_former_name_gets_its_new_one(worker_id: str) -> None:
    url = create_database(f"watcher_former_{worker_id}")
    with psycopg.connect(url) as connection:
        connection.execute("ALTER TABLE watcher_alembic_version RENAME TO alembic_version")
        connection.execute(
            "ALTER TABLE alembic_version RENAME CONSTRAINT watcher_alembic_version_pkc TO alembic_version_pkc"
        )
    assert (current_revision(url), is_current(url)) == (head_revision(), False)

    migrate(url)

    assert is_current(url)
    # Another program can come now.
    with psycopg.connect(url) as connection:
        connection.execute(FOREIGN.encode())
    assert is_current(url)


def test_tables_in_a_schema_that_another_hides_are_not_made_anew(worker_id: str) -> None:
    url = create_database(f"watcher_hidden_{worker_id}")
    with psycopg.connect(url) as connection:
        connection.execute("CREATE SCHEMA postgres")

    with pytest.raises(SchemaError, match="tables are in the schema public, and the search_path"):
        migrate(url)

    assert tables(url, "postgres") == set()
