"""Statements of the hot path: read once, when they are imported."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import psycopg
from psycopg import AsyncConnection, AsyncRawCursor, RawCursor
from psycopg.rows import TupleRow
from sqlalchemy import Connection, CursorResult

from watcher_server.database.ingest_pool import IngestConnection

_PLACE = re.compile(r"%\((\w+)\)s")


class Statement(NamedTuple):
    """SQL with numbered places, the names of the parameters that go there, and the same with named places.

    psycopg reads a statement with named places anew each time when it is longer than 4,096 characters. For the end of a
    run that took 75 microseconds, and takes 4 this way.
    """

    sql: bytes
    names: tuple[str, ...]
    named: str

    async def fetch_one(self, connection: AsyncConnection[TupleRow], parameters: Mapping[str, Any]) -> TupleRow | None:
        """Its first row, with these parameters."""
        values = [parameters[name] for name in self.names]
        # Behind a pooler nothing is prepared.
        if isinstance(connection, IngestConnection) and connection.prepare_threshold is not None:
            return await connection.fetch_first(self.sql, values)
        cursor = AsyncRawCursor(connection)
        await cursor.execute(self.sql, values)
        return await cursor.fetchone()

    def run(
        self, connection: Connection, parameters: Mapping[str, Any]
    ) -> "psycopg.Cursor[TupleRow] | CursorResult[Any]":
        """Its rows, as plain tuples, with these parameters: in the transaction of the connection, if it is in one.

        For what each task asks, SQLAlchemy takes longer than psycopg, libpq and the network together. Here it has the
        connection and the errors only.

        Raises:
            sqlalchemy.exc.StatementError: as from ``connection.execute``.
        """
        driver = connection.connection.driver_connection
        if not isinstance(driver, psycopg.Connection):
            # The api's connections are asynchronous, which SQLAlchemy knows how to hide.
            return connection.exec_driver_sql(self.named, dict(parameters))
        try:
            return RawCursor(driver).execute(self.sql, [parameters[name] for name in self.names])
        except (psycopg.Error, TypeError, ValueError) as error:
            # There is no public way to SQLAlchemy's own error, to its listeners, and to a pool without this connection.
            # The others are of parameters that have no form in the database.
            connection._handle_dbapi_exception(error, self.named, dict(parameters), None, None)  # noqa: SLF001


def numbered(statement: str) -> Statement:
    """The statement with its places, such as ``%(id)s``, numbered."""
    names = list(dict.fromkeys(_PLACE.findall(statement)))
    sql = _PLACE.sub(lambda found: f"${names.index(found[1]) + 1}", statement)
    return Statement(sql.encode(), tuple(names), statement)
