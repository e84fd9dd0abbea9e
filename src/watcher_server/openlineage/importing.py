"""Taking in events from files, as the client's file transport writes them: one event a line."""

import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection, text

from watcher_server.openlineage.envelope import EnvelopeError, hide_user, parse_event, read_envelope
from watcher_server.openlineage.models import LANE_CHARACTERS
from watcher_server.openlineage.waking import wake

Begin = Callable[[], AbstractContextManager[Connection]]

_AT_ONCE: Final = 500
_MOST_BYTES_AT_ONCE: Final = 4 * 1024 * 1024
# Of the lines that are no events; the others are counted.
_MOST_NAMED: Final = 1_000

# In the order of the lines, so that ids are too.
_STORE = """
INSERT INTO openlineage_event (lane, body)
SELECT lane, body
FROM unnest(CAST(:lanes AS text[]), CAST(:bodies AS bytea[])) WITH ORDINALITY AS line (lane, body, place)
ORDER BY place
"""


@dataclass(frozen=True)
class BadLine:
    """A line that is no event: its number, from 1, and why."""

    number: int
    reason: str


@dataclass
class Imported:
    """How many events were stored, how many lines are none, and the first of these."""

    events: int = 0
    bad: int = 0
    named: list[BadLine] = field(default_factory=list)


def import_lines(
    begin: Begin, lines: Iterable[bytes], most_bytes: int, *, report: Callable[[Imported], None] = lambda _: None
) -> Imported:
    """Store the events of these lines, to be applied as if they had been sent; a bad line keeps none of the others out.

    A batch is a transaction of its own. After an interruption the file can be imported again: what is known changes
    nothing. ``report`` is given the state after each batch.
    """
    done = Imported()
    for batch in _batches(lines, most_bytes, done):
        with begin() as connection:
            lanes, bodies = zip(*batch, strict=True)
            connection.execute(text(_STORE), {"lanes": list(lanes), "bodies": list(bodies)})
            wake(connection)
        done.events += len(batch)
        report(done)
    return done


def _batches(lines: Iterable[bytes], most_bytes: int, done: Imported) -> Iterator[list[tuple[str, bytes]]]:
    batch: list[tuple[str, bytes]] = []
    size = 0
    for number, line in enumerate(lines, 1):
        raw = line.strip().removeprefix(b"\xef\xbb\xbf")
        if not raw:
            continue
        try:
            lane, body = _read(raw, most_bytes)
        except EnvelopeError as error:
            done.bad += 1
            if len(done.named) < _MOST_NAMED:
                done.named.append(BadLine(number, str(error)))
            continue
        batch.append((lane, body))
        size += len(body)
        if len(batch) == _AT_ONCE or size > _MOST_BYTES_AT_ONCE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _read(raw: bytes, most_bytes: int) -> tuple[str, bytes]:
    """The lane and the body as they are stored."""
    if len(raw) > most_bytes:
        raise EnvelopeError(f"The event has {len(raw):,} bytes, {most_bytes:,} are allowed")
    envelope = read_envelope(parse_event(raw))
    return hide_user(envelope.namespace)[:LANE_CHARACTERS], zlib.compress(raw, 1)
