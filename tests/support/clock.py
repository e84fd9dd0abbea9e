"""A database whose clock stands still until a test moves it."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from sqlalchemy import Engine, NullPool, create_engine, text

from watcher_server.database.engine import sqlalchemy_url

# A function `now` that stands before pg_catalog's in the search path is what every statement calls.
_CREATE_CLOCK = """
CREATE SCHEMA clock;
CREATE TABLE clock.moment (at timestamptz NOT NULL);
INSERT INTO clock.moment VALUES ('2040-01-01');
CREATE FUNCTION clock.now() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT at FROM clock.moment';
DO $$ BEGIN
    EXECUTE format('ALTER DATABASE %I SET search_path = clock, pg_catalog, public', current_database());
END $$
"""


class DatabaseClock:
    """What ``now()`` is in a database, for all sessions that have begun since :func:`stop_clock`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def now(self) -> datetime:
        """The moment at which the clock stands."""
        with self._engine.connect() as connection:
            moment: datetime = connection.execute(text("SELECT at FROM clock.moment")).scalar_one()
        return moment

    def set(self, moment: datetime) -> None:
        """Let it be this moment from the next statement on."""
        with self._engine.begin() as connection:
            connection.execute(text("UPDATE clock.moment SET at = :moment"), {"moment": moment})

    def advance(self, **duration: float) -> None:
        """Let time pass: ``advance(minutes=30)``."""
        self.set(self.now + timedelta(**duration))


@contextmanager
def stop_clock(database_url: str) -> Iterator[DatabaseClock]:
    """Stop the clock of a database that no test uses as it is: it keeps its own ``now()``.

    Only ``now()`` obeys: ``current_date``, ``clock_timestamp()`` and the defaults of columns go on as they do.
    """
    options = {"options": "-c timezone=UTC"}
    engine = create_engine(sqlalchemy_url(database_url), poolclass=NullPool, connect_args=options)
    with engine.begin() as connection:
        connection.execute(text(_CREATE_CLOCK))
    yield DatabaseClock(engine)
