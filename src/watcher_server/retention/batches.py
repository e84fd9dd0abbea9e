"""Deleting in transactions so short that nobody waits for them."""

import time
from typing import Any

from psycopg.errors import ForeignKeyViolation, QueryCanceled
from sqlalchemy import Engine, Row, text
from sqlalchemy.exc import DBAPIError

# A statement takes about so long. One that would take longer than the limit is given up and tried with fewer rows.
_AIM_SECONDS = 0.025
_LIMIT_MILLISECONDS = 80
_FIRST_ROWS = 200
_MOST_GROWTH, _LEAST_GROWTH = 1.5, 0.25
# Below that, fewer rows make a statement no shorter on a slow machine: only the limit makes it go lower.
_FEW_ROWS = 50
_TRIES = 5

# As long as a batch took, the database belongs to the others; but a batch that waited does not make the rest wait.
_LONGEST_PAUSE_SECONDS = 0.5


class Batches:
    """One statement, again and again, each time in a transaction of its own and over as many rows as the time allows.

    Args:
        engine: where.
        statement: takes ``batch_size``, the rows to look at, and locks nothing that it would have to wait for.
        largest: the most rows of a batch, however quick it is.
    """

    def __init__(self, engine: Engine, statement: str, largest: int) -> None:
        self._engine = engine
        self._statement = text(statement)
        self._largest = largest
        self._rows = min(_FIRST_ROWS, largest)

    def run(self, parameters: dict[str, Any]) -> Row[Any]:
        """The row with which the statement answers, once it has committed, and a pause after it."""
        tries = 0
        while True:
            began = time.perf_counter()
            try:
                return self._execute(parameters)
            except DBAPIError as error:
                if isinstance(error.orig, QueryCanceled) and self._rows > 1:
                    self._rows = max(1, int(self._rows * _LEAST_GROWTH))
                elif isinstance(error.orig, ForeignKeyViolation) and tries < _TRIES:
                    # A run was given one of these as its parent after the batch had been looked at: look again.
                    tries += 1
                else:
                    raise
            finally:
                time.sleep(min(time.perf_counter() - began, _LONGEST_PAUSE_SECONDS))

    def _execute(self, parameters: dict[str, Any]) -> Row[Any]:
        with self._engine.begin() as connection:
            # A single row has to go at some time, however much hangs on it.
            if self._rows > 1:
                connection.execute(
                    text("SELECT set_config('statement_timeout', :limit, true)"), {"limit": str(_LIMIT_MILLISECONDS)}
                )
            began = time.perf_counter()
            row = connection.execute(self._statement, {**parameters, "batch_size": self._rows}).one()
            seconds = time.perf_counter() - began
        # What it takes to connect and to commit depends on other things than the rows.
        growth = max(_LEAST_GROWTH, min(_MOST_GROWTH, _AIM_SECONDS / seconds))
        self._rows = max(min(self._rows, _FEW_ROWS), min(self._largest, int(self._rows * growth + 0.5)))
        return row
