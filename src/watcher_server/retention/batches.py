"""Deleting in transactions that are too short for others to notice."""

import time
from typing import Any

from psycopg.errors import ForeignKeyViolation, QueryCanceled
from sqlalchemy import Engine, Row, text
from sqlalchemy.exc import DBAPIError

# The aim is the duration of a statement. One that reaches the limit is cancelled and tried with fewer rows.
_AIM_SECONDS = 0.025
_LIMIT_MILLISECONDS = 80
_FIRST_ROWS = 200
_MOST_GROWTH, _LEAST_GROWTH = 1.5, 0.25
# On a slow machine fewer rows than this do not shorten a statement, so only the limit leads below it.
_FEW_ROWS = 50
_TRIES = 5

# After a batch, the database is left to others for as long as the batch took, but no longer than this.
_LONGEST_PAUSE_SECONDS = 0.5


class Batches:
    """One statement, run repeatedly, each time in its own transaction and over as many rows as the time allows.

    Args:
        engine: the engine to run it on.
        statement: takes ``batch_size``, the number of rows to look at, and never waits for a lock.
        largest: the most rows of a batch, however quick it is.
    """

    def __init__(self, engine: Engine, statement: str, largest: int) -> None:
        self._engine = engine
        self._statement = text(statement)
        self._largest = largest
        self._rows = min(_FIRST_ROWS, largest)

    def run(self, parameters: dict[str, Any]) -> Row[Any]:
        """Run the statement, commit, and pause; the row that the statement returns."""
        tries = 0
        while True:
            began = time.perf_counter()
            try:
                return self._execute(parameters)
            except DBAPIError as error:
                if isinstance(error.orig, QueryCanceled) and self._rows > 1:
                    self._rows = max(1, int(self._rows * _LEAST_GROWTH))
                elif isinstance(error.orig, ForeignKeyViolation) and tries < _TRIES:
                    # A new run got one of these as its parent after the batch had looked at it: look again.
                    tries += 1
                else:
                    raise
            finally:
                time.sleep(min(time.perf_counter() - began, _LONGEST_PAUSE_SECONDS))

    def _execute(self, parameters: dict[str, Any]) -> Row[Any]:
        with self._engine.begin() as connection:
            # A single row has no limit, because it must be deleted however many rows refer to it.
            if self._rows > 1:
                connection.execute(
                    text("SELECT set_config('statement_timeout', :limit, true)"), {"limit": str(_LIMIT_MILLISECONDS)}
                )
            began = time.perf_counter()
            row = connection.execute(self._statement, {**parameters, "batch_size": self._rows}).one()
            seconds = time.perf_counter() - began
        # Measured without connecting and committing, which do not depend on the number of rows.
        growth = max(_LEAST_GROWTH, min(_MOST_GROWTH, _AIM_SECONDS / seconds))
        self._rows = max(min(self._rows, _FEW_ROWS), min(self._largest, int(self._rows * growth + 0.5)))
        return row
