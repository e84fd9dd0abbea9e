"""The tables that the demo's pipelines load, in the schema ``demo_flights`` of a PostgreSQL database.

Every load first deletes the rows of an earlier run of itself, so that running it again doubles nothing. It returns the
number of rows that it inserted.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Self

import psycopg
from psycopg import sql
from psycopg_pool import ConnectionPool

from watcher_server.demo.data import Departures
from watcher_server.demo.errors import DemoError

SCHEMA = "demo_flights"
CONNECT_TIMEOUT_SECONDS = 10.0

# Indexes flights_load and staging_weather_day serve these.
_BUILD_MART = {
    # Flights, late flights and delays by carrier and airport.
    "mart_daily_performance": """
        INSERT INTO demo_flights.mart_daily_performance
        SELECT flight_date, carrier, min(airline), origin, count(*),
               count(*) FILTER (WHERE arrival_delay_minutes > 15), avg(arrival_delay_minutes)
        FROM demo_flights.flights
        WHERE flight_date = %(flight_date)s
        GROUP BY flight_date, carrier, origin
    """,
    # Each airport's delays beside its worst weather.
    "mart_weather_delays": """
        INSERT INTO demo_flights.mart_weather_delays
        SELECT f.flight_date, f.origin, f.flights, f.mean_delay, w.gust, w.precipitation, w.visibility
        FROM (
            SELECT flight_date, origin, count(*) AS flights, avg(departure_delay_minutes) AS mean_delay
            FROM demo_flights.flights
            WHERE flight_date = %(flight_date)s
            GROUP BY flight_date, origin
        ) f
        LEFT JOIN LATERAL (
            SELECT max(wind_gust) AS gust, sum(precip) AS precipitation, min(visib) AS visibility
            FROM demo_flights.staging_weather
            WHERE year = %(year)s
              AND month = %(month)s
              AND day = %(day)s
              AND origin = f.origin
        ) w ON true
    """,
}


class Warehouse:
    """Connections to the warehouse, one for each thread that loads."""

    def __init__(self, url: str, *, connections: int) -> None:
        # The tables can be loaded again at any time, so no commit waits for the disk.
        self._pool = ConnectionPool(
            url,
            min_size=1,
            max_size=connections,
            timeout=CONNECT_TIMEOUT_SECONDS,
            kwargs={"options": "-c synchronous_commit=off -c client_min_messages=warning"},
            open=False,
        )
        self._url = url

    def __enter__(self) -> Self:
        """Connect, and create the tables that are missing; raises DemoError if either cannot be done."""
        try:
            # The pool only logs why it cannot connect; this connection raises the reason.
            with psycopg.connect(self._url, connect_timeout=int(CONNECT_TIMEOUT_SECONDS)) as connection:
                connection.execute(files("watcher_server.demo").joinpath("schema.sql").read_bytes())
                self.database_name = connection.info.dbname
        except psycopg.Error as error:
            raise DemoError(
                f"The warehouse cannot be used ({_first_line(error)}): give a PostgreSQL database in which tables "
                "may be created with --warehouse-url."
            ) from error
        self._pool.open()
        return self

    def __exit__(self, *exception: object) -> None:
        self._pool.close()

    @contextmanager
    def _transaction(self) -> Iterator[psycopg.Connection]:
        try:
            with self._pool.connection() as connection:
                yield connection
        except psycopg.Error as error:
            raise DemoError(
                f"The warehouse failed during a load ({_first_line(error)}): see that the database is up, then run "
                "`watcher demo --again` to go on."
            ) from error

    def address_of(self, table: str) -> str:
        """The table's name as an address in Watcher: database, schema, table."""
        return f"{self.database_name}.{SCHEMA}.{table}"

    def load_reference(self, name: str, file: Path) -> int:
        """Replace a staging table by the content of its CSV file."""
        table = sql.Identifier(SCHEMA, f"staging_{name}")
        with self._transaction() as connection, connection.cursor() as cursor:
            cursor.execute(sql.SQL("TRUNCATE {}").format(table))
            statement = sql.SQL("COPY {} FROM STDIN (FORMAT csv, HEADER true, NULL 'NA')").format(table)
            with cursor.copy(statement) as copy:
                copy.write(file.read_bytes())
            rows = cursor.rowcount
            cursor.execute(sql.SQL("ANALYZE {}").format(table))
            return rows

    def load_flights(self, day: date, departures: Departures, lines: Sequence[str]) -> int:
        """Copy one day's flights into staging, and from there, with names looked up, into the facts."""
        key = _day_parameters(day) | {"carrier": departures.carrier, "origin": departures.origin}
        with self._transaction() as connection, connection.cursor() as cursor:
            # Index staging_flights_load serves the delete.
            cursor.execute(
                """
                DELETE FROM demo_flights.staging_flights
                WHERE year = %(year)s
                  AND month = %(month)s
                  AND day = %(day)s
                  AND carrier = %(carrier)s
                  AND origin = %(origin)s
                """,
                key,
            )
            if lines:
                with cursor.copy("COPY demo_flights.staging_flights FROM STDIN (FORMAT csv, NULL 'NA')") as copy:
                    copy.write("\n".join(lines) + "\n")
            # Index flights_load serves the delete, staging_flights_load the select; the joins are primary keys.
            cursor.execute(
                "DELETE FROM demo_flights.flights"
                " WHERE flight_date = %(flight_date)s AND carrier = %(carrier)s AND origin = %(origin)s",
                key,
            )
            cursor.execute(
                """
                INSERT INTO demo_flights.flights
                SELECT %(flight_date)s, f.carrier, a.name, f.flight, f.origin, f.dest, p.name, f.tailnum, l.model,
                       f.time_hour, f.dep_delay, f.arr_delay, f.air_time, f.distance
                FROM demo_flights.staging_flights f
                LEFT JOIN demo_flights.staging_airlines a ON a.carrier = f.carrier
                LEFT JOIN demo_flights.staging_airports p ON p.faa = f.dest
                LEFT JOIN demo_flights.staging_planes l ON l.tailnum = f.tailnum
                WHERE f.year = %(year)s
                  AND f.month = %(month)s
                  AND f.day = %(day)s
                  AND f.carrier = %(carrier)s
                  AND f.origin = %(origin)s
                """,
                key,
            )
            return cursor.rowcount

    def build_mart(self, table: str, day: date) -> int:
        """Rebuild one day of a mart."""
        with self._transaction() as connection:
            # The primary key serves the delete.
            mart = sql.Identifier(SCHEMA, table)
            connection.execute(sql.SQL("DELETE FROM {} WHERE flight_date = %s").format(mart), (day,))
            return connection.execute(_BUILD_MART[table], _day_parameters(day)).rowcount

    def remember_nightly_run(self, day: date, execution_id: int) -> None:
        """Note which execution of the daily load ran for a day."""
        with self._transaction() as connection:
            connection.execute("INSERT INTO demo_flights.nightly_run VALUES (%s, %s)", (day, execution_id))

    def forget_nightly_runs(self) -> None:
        """Delete the notes: they name executions of another Watcher."""
        with self._transaction() as connection:
            connection.execute("TRUNCATE demo_flights.nightly_run")

    def find_nightly_runs(self) -> list[tuple[date, int]]:
        """Every noted day with its execution of the daily load; an interrupted day has two."""
        with self._transaction() as connection:
            cursor = connection.execute(
                "SELECT flight_date, execution_id FROM demo_flights.nightly_run ORDER BY flight_date, execution_id"
            )
            return [(day, execution_id) for day, execution_id in cursor]


def _first_line(error: psycopg.Error) -> str:
    return str(error).strip().splitlines()[0]


def _day_parameters(day: date) -> dict[str, object]:
    return {"flight_date": day, "year": day.year, "month": day.month, "day": day.day}
