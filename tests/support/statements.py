"""Which statements this process sends to the database."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest import mock

import psycopg


class SentStatement(NamedTuple):
    """A statement as psycopg was given it, by which kind of cursor, and the seconds until its result was there."""

    cursor: type[psycopg.Cursor[Any]]
    sql: str
    parameters: Any
    seconds: float


@contextmanager
def watched_statements() -> Iterator[list[SentStatement]]:
    """Each statement that is sent in the block over a connection that is not asynchronous."""
    sent: list[SentStatement] = []
    execute: Any = psycopg.Cursor.execute

    def watched(cursor: Any, query: Any, parameters: Any = None, **options: Any) -> Any:
        began = time.perf_counter()
        answer = execute(cursor, query, parameters, **options)
        seconds = time.perf_counter() - began
        sql = query.decode() if isinstance(query, bytes) else str(query)
        sent.append(SentStatement(type(cursor), sql, parameters, seconds))
        return answer

    with mock.patch.object(psycopg.Cursor, "execute", watched):
        yield sent
