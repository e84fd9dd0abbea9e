"""The migrations build what the models describe."""

from datetime import UTC, datetime

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, text

from watcher_server.database.migrate import is_current, migrate
from watcher_server.database.models import Base


def test_the_migrated_tables_are_the_models(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})

        assert compare_metadata(context, Base.metadata) == []


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
