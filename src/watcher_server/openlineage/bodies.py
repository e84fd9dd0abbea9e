"""From the bytes of a request to what is stored of them, within bounds."""

import zlib
from dataclasses import dataclass, field
from typing import Final

from pydantic_core import to_json

from watcher_server.kit.unpacking import GZIP, TooLargeError, inflate, ungzip
from watcher_server.openlineage.envelope import EnvelopeError, hide_user, parse_event, read_envelope
from watcher_server.openlineage.models import LANE_CHARACTERS
from watcher_server.openlineage.splitting import split_array

MOST_IN_BATCH: Final = 10_000
# A batch may unpack to this many times the limit of an event.
BATCH_EVENTS: Final = 8
CODINGS: Final = ("gzip", "deflate", "identity")


class CodingError(ValueError):
    """The Content-Encoding is none that can be read."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """An event as it is stored: the beginning of its namespace, and its JSON, compressed by zlib."""

    lane: str
    packed: bytes


@dataclass(slots=True)
class Batch:
    """The events of a batch; ``failed`` has the places (from 0) of its other elements, and what is wrong with them."""

    accepted: list[Accepted] = field(default_factory=list)
    failed: list[tuple[int, str]] = field(default_factory=list)


def unpack(body: bytes, coding: str, most_bytes: int) -> bytes:
    """The body as it was before its Content-Encoding; gzip is known by its first bytes too, for clients forget to say.

    Raises:
        CodingError: the coding is unknown.
        PackingError: the body is not packed as the coding says, or a part of it is missing.
        TooLargeError: unpacked it has more than ``most_bytes``.
    """
    coding = coding.strip().lower()
    if coding not in {"", "x-gzip", *CODINGS}:
        raise CodingError
    if coding in {"gzip", "x-gzip"} or body.startswith(GZIP):
        return ungzip(body, most_bytes)
    if coding == "deflate":
        return inflate(body, most_bytes)
    if len(body) > most_bytes:
        raise TooLargeError
    return body


def read_one(raw: bytes) -> Accepted:
    """The event that a JSON text is. Raises EnvelopeError: it is none, or lacks what identifies it."""
    value = parse_event(raw)
    if isinstance(value, list):
        raise EnvelopeError("An event is a JSON object; arrays of events go to /api/v1/lineage/batch")
    lane = hide_user(read_envelope(value).namespace)[:LANE_CHARACTERS]
    # Not as it came, because not everything that can be read can be read again by others.
    return Accepted(lane, zlib.compress(to_json(value), 1))


def read_batch(raw: bytes, most_event_bytes: int) -> Batch:
    """The events of a JSON array, each judged by itself.

    Raises:
        EnvelopeError: the text is no JSON array.
        TooManyElementsError: it has more than ``MOST_IN_BATCH`` elements.
    """
    batch = Batch()
    for place, element in enumerate(split_array(raw, MOST_IN_BATCH)):
        if len(element) > most_event_bytes:
            batch.failed.append((place, f"The event has more than {most_event_bytes} bytes"))
            continue
        try:
            batch.accepted.append(read_one(element))
        except EnvelopeError as error:
            batch.failed.append((place, str(error)))
    return batch
