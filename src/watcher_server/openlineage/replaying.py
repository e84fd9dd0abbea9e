"""Applying events again: those that failed, once the cause is mended, and those that were applied."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, text

from watcher_server.audit.service import Change, record
from watcher_server.openlineage.waking import wake

Begin = Callable[[], AbstractContextManager[Connection]]

# So that a transaction is too short for others to notice.
_AT_ONCE: Final = 1_000

# As they came, with their ids and the moments at which they arrived.
_BRING_BACK = """
WITH wanted AS MATERIALIZED (
    SELECT id FROM openlineage_failed_event WHERE {which} ORDER BY id LIMIT :most FOR UPDATE SKIP LOCKED
), back AS (
    DELETE FROM openlineage_failed_event AS failed USING wanted WHERE failed.id = wanted.id
    RETURNING failed.id, failed.received_at, failed.lane, failed.body
)
INSERT INTO openlineage_event (id, received_at, lane, body)
SELECT id, received_at, lane, body FROM back ORDER BY id
RETURNING id
"""
# By ix_openlineage_event_id.
_FORGET_APPLIED = """
UPDATE openlineage_event AS event SET applied_at = NULL
FROM (
    SELECT id, received_at FROM openlineage_event WHERE {which} AND applied_at < :began ORDER BY id LIMIT :most
) AS wanted
WHERE event.id = wanted.id AND event.received_at = wanted.received_at AND event.applied_at IS NOT NULL
RETURNING event.id
"""
_SINCE = "id > :after AND received_at >= :since"

_KNOWN = """
SELECT id FROM openlineage_event WHERE id = ANY(CAST(:ids AS bigint[]))
UNION SELECT id FROM openlineage_failed_event WHERE id = ANY(CAST(:ids AS bigint[]))
"""


@dataclass
class Replayed:
    """How many events will be applied again, and the ids that no event has."""

    events: int = 0
    unknown: list[int] = field(default_factory=list)


def replay_these(begin: Begin, ids: Sequence[int]) -> Replayed:
    """Have these events, which were applied or failed, applied again; one that waits is left alone."""
    done = Replayed()
    wanted = sorted(set(ids))
    _note(begin, ", ".join(map(str, wanted[:20])) + (", ..." if len(wanted) > 20 else ""))  # noqa: PLR2004 - a line
    for first in range(0, len(wanted), _AT_ONCE):
        some = wanted[first : first + _AT_ONCE]
        with begin() as connection:
            known = set(connection.scalars(text(_KNOWN), {"ids": some}))
            parameters = {"ids": some, "most": _AT_ONCE, "began": connection.scalar(text("SELECT clock_timestamp()"))}
            done.unknown += [id_ for id_ in some if id_ not in known]
            for statement in (_FORGET_APPLIED, _BRING_BACK):
                done.events += len(_run(connection, statement, "id = ANY(CAST(:ids AS bigint[]))", parameters))
            if done.events:
                wake(connection)
    return done


def replay_failed(begin: Begin) -> Replayed:
    """Have all events that failed applied again."""
    _note(begin, "all that failed")
    return Replayed(sum(_in_batches(begin, _BRING_BACK, "id > :after", {})))


def replay_since(begin: Begin, since: datetime) -> Replayed:
    """Have all events applied again that arrived since then (UTC) and are kept, whether they were applied or failed."""
    parameters = {"since": since}
    _note(begin, f"all since {since.isoformat()}")
    applied = sum(_in_batches(begin, _FORGET_APPLIED, _SINCE, parameters))
    return Replayed(applied + sum(_in_batches(begin, _BRING_BACK, _SINCE, parameters)))


def _note(begin: Begin, events: str) -> None:
    with begin() as connection:
        record(connection, Change("replay", "event", None, events))


def _in_batches(begin: Begin, statement: str, which: str, parameters: dict[str, Any]) -> Iterator[int]:
    """How many events each transaction brought back, in the order of their ids."""
    # What is applied while this goes on is not applied once more.
    with begin() as connection:
        began = connection.scalar(text("SELECT clock_timestamp()"))
    after, number = 0, _AT_ONCE
    while number == _AT_ONCE:
        with begin() as connection:
            ids = _run(connection, statement, which, {**parameters, "after": after, "most": _AT_ONCE, "began": began})
            if ids:
                wake(connection)
        number = len(ids)
        after = max(ids, default=after)
        yield number


def _run(connection: Connection, statement: str, which: str, parameters: dict[str, Any]) -> Sequence[int]:
    return connection.scalars(text(statement.format(which=which)), parameters).all()
