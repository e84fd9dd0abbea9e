"""Splitting a JSON array into the texts of its elements, so that each is read and judged by itself.

The elements are found by brackets and quotation marks alone: reading the whole array at once would take the memory of
all its values, and one element that is no JSON would spoil the others.
"""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Final

from watcher_server.openlineage.envelope import EnvelopeError

# A step of the search each.
_MOST_BRACKETS: Final = 4_000_000
_SPACE = re.compile(rb"[ \t\n\r]*+")
_SCALAR = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[^][{},"\s]++', re.DOTALL)
# All up to the next bracket that stands in no text.
_TO_BRACKET = re.compile(rb'(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)


class TooManyElementsError(Exception):
    """The array has more elements than it may have."""


def split_array(raw: bytes, most: int) -> Iterator[bytes]:
    """The texts of the elements; whether they are JSON is not known yet.

    Raises:
        EnvelopeError: what surrounds them is no JSON array.
        TooManyElementsError: there are more than ``most`` of them.
    """
    if raw.count(b"[") + raw.count(b"{") > _MOST_BRACKETS:
        raise EnvelopeError(f"The batch has more than {_MOST_BRACKETS:,} lists and objects")
    # Nothing of an array that breaks off is taken, so its end is looked for first.
    spans = list(islice(_spans(raw), most + 1))
    if len(spans) > most:
        raise TooManyElementsError
    return (raw[start:end] for start, end in spans)


def _spans(raw: bytes) -> Iterator[tuple[int, int]]:
    at = _skip_space(raw, 0)
    if raw[at : at + 1] != b"[":
        raise EnvelopeError("A batch is a JSON array of events; a single event goes to /api/v1/lineage")
    at = _skip_space(raw, at + 1)
    if raw[at : at + 1] == b"]":
        at = _skip_space(raw, at + 1)
    else:
        separator = b","
        while separator == b",":
            end = _end_of_value(raw, at)
            yield at, end
            at = _skip_space(raw, end)
            separator = raw[at : at + 1]
            at = _skip_space(raw, at + 1)
        if separator != b"]":
            raise _not_array(at)
    if at < len(raw):
        raise _not_array(at)


def _end_of_value(raw: bytes, at: int) -> int:
    if raw[at : at + 1] not in {b"{", b"["}:
        return _match(_SCALAR, raw, at)
    depth = 0
    while at < len(raw) and raw[at] != ord('"'):
        depth += 1 if raw[at] in b"[{" else -1
        at += 1
        if depth == 0:
            return at
        at = _match(_TO_BRACKET, raw, at)
    raise _not_array(at)


def _skip_space(raw: bytes, at: int) -> int:
    return _match(_SPACE, raw, at)


def _match(pattern: re.Pattern[bytes], raw: bytes, at: int) -> int:
    """Where the pattern, which begins here, ends."""
    found = pattern.match(raw, at)
    if found is None:
        raise _not_array(at)
    return found.end()


def _not_array(at: int) -> EnvelopeError:
    return EnvelopeError(f"The body is not a JSON array: it goes wrong at byte {at}")
