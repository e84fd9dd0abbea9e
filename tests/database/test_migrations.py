"""The migrations build what the models describe."""

import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, NullPool, create_engine, text

from tests.conftest import create_database
from watcher_server.database import engine as engines
from watcher_server.database import migrate as migrations
from watcher_server.database.engine import sqlalchemy_url
from watcher_server.database.migrate import is_current, migrate
from watcher_server.models import Base

MIGRATIONS = Path(engines.__file__).parent / "migrations"


def test_reading_them_loads_nothing_to_colour_source_code() -> None:
    found = subprocess.run(
        [sys.executable, "-c", "import sys, watcher_server.database.migrate; print('pygments' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert found.stdout.strip() == "False"


def test_the_migrated_tables_are_the_models(engine: Engine) -> None:
    with engine.connect() as connection:
        options = {
            "compare_server_default": True,
            "include_name": _is_modelled,
            "version_table": migrations.VERSION_TABLE,
        }
        context = MigrationContext.configure(connection, opts=options)

        assert compare_metadata(context, Base.metadata) == []


def _is_modelled(name: str | None, kind: str, _: object) -> bool:
    """Whether it is a table of the models: partitions are made beside them, those of days by the keeper."""
    return kind != "table" or name is None or re.fullmatch(r"openlineage_event_(default|\d{8})", name) is None


def test_migrating_twice_is_harmless(engine: Engine, database_url: str) -> None:
    migrate(database_url)

    assert is_current(database_url)


@pytest.mark.parametrize("datepart", ["minute", "hour", "day", "week", "month", "quarter", "year"])
def test_the_longest_threshold_on_the_last_day_has_a_deadline(engine: Engine, datepart: str) -> None:
    moment = datetime(9999, 12, 31, 23, 59, tzinfo=UTC)
    statement = text("SELECT watcher_deadline(:moment, :number, :datepart) > :moment")

    with engine.connect() as connection:
        values = {"moment": moment, "number": 2**31 - 1, "datepart": datepart}
        assert connection.scalar(statement, values) is True


@pytest.mark.parametrize(
    ("number", "datepart", "expected"),
    [
        (1, "month", "2026-02-28"),
        (1, "quarter", "2026-04-30"),
        (1, "year", "2027-01-31"),
        (2, "week", "2026-02-14"),
    ],
)
def test_months_quarters_and_years_follow_the_calendar(
    engine: Engine, number: int, datepart: str, expected: str
) -> None:
    statement = text("SELECT watcher_deadline('2026-01-31Z', :number, :datepart)::date::text")

    with engine.connect() as connection:
        assert connection.scalar(statement, {"number": number, "datepart": datepart}) == expected


@pytest.fixture
def version_before(worker_id: str) -> str:
    """The URL of a database as it was before the revision that resolves thresholds."""
    url = create_database(f"watcher_before_{worker_id}", "template0")
    before = create_engine(sqlalchemy_url(url), poolclass=NullPool)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    revision = ScriptDirectory.from_config(config).get_revision("0016")
    assert revision is not None
    with before.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, str(revision.down_revision))
    return url


THRESHOLDS = """
INSERT INTO pipeline_type (name, freshness_number, freshness_datepart, mute_timeliness_check)
VALUES ('daily', 1, 'day', true);
INSERT INTO pipeline (name, pipeline_type_id, freshness_number, freshness_datepart, timeliness_number,
    timeliness_datepart, mute_freshness_check, last_target_insert, created_at, pipeline_metadata)
VALUES
    ('of its type', 1, NULL, NULL, NULL, NULL, false, NULL, '2026-01-01Z', '{"tags": ["a", 1]}'),
    ('its own', 1, 2, 'hour', 2000000000, 'year', true, '2026-02-01Z', '2026-01-01Z', NULL);
"""


def test_a_database_with_pipelines_gets_the_thresholds_in_force(version_before: str) -> None:
    before = create_engine(sqlalchemy_url(version_before), poolclass=NullPool)
    with before.begin() as connection:
        connection.execute(text(THRESHOLDS))

    migrate(version_before)

    columns = """
        name, tags, freshness_number, freshness_datepart, freshness_own, freshness_muted_by, freshness_muted,
        timeliness_number, timeliness_muted_by, stale_at,
        watcher_due(created_at, timeliness_number, timeliness_datepart)
    """
    with before.connect() as connection:
        rows = connection.execute(text(f"SELECT {columns} FROM pipeline_effective ORDER BY id")).all()
    assert [tuple(row) for row in rows] == [
        ("of its type", ["a"], 1, "day", False, None, False, None, "type", datetime(2026, 1, 2, tzinfo=UTC), None),
        ("its own", [], 2, "hour", True, "pipeline", True, 2_000_000_000, "type",
         datetime(2026, 2, 1, 2, tzinfo=UTC), None),
    ]  # fmt: skip
