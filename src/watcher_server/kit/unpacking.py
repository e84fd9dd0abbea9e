"""Unpacking gzip and deflate within bounds: what a bomb can cost is the limit."""

import zlib
from typing import Final

GZIP: Final = b"\x1f\x8b"
_WITH_GZIP_HEADER: Final = 31
_WITH_ZLIB_HEADER: Final = 15
_WITHOUT_HEADER: Final = -15
# What follows the end of a member is copied, so that a file of very many small members must not be given at once.
_STEP_BYTES: Final = 16 * 1024


class PackingError(ValueError):
    """The bytes cannot be unpacked; the message completes the sentence "The body ..."."""


class TooLargeError(Exception):
    """What is packed is larger than the limit."""


def ungzip(packed: bytes, most_bytes: int) -> bytes:
    """What a gzip file of one or more members holds.

    Raises:
        TooLargeError: it holds more than ``most_bytes``; no more than that was unpacked.
        PackingError: it is no gzip, or a part of one.
    """
    return _unpack(packed, most_bytes, _WITH_GZIP_HEADER, "gzip file")


def inflate(packed: bytes, most_bytes: int) -> bytes:
    """What a body of HTTP's coding "deflate" holds: a zlib stream, or, as some clients send it, one without its header.

    Raises:
        TooLargeError: as above.
        PackingError: it is neither, or a part of one.
    """
    # RFC 1950: the method is 8, and the first two bytes are a multiple of 31.
    has_header = packed[:1] != b"" and packed[0] & 15 == 8 and int.from_bytes(packed[:2], "big") % 31 == 0  # noqa: PLR2004
    return _unpack(packed, most_bytes, _WITH_ZLIB_HEADER if has_header else _WITHOUT_HEADER, "deflate stream")


def _unpack(packed: bytes, most_bytes: int, window_bits: int, kind: str) -> bytes:
    pieces: list[bytes] = []
    left = most_bytes
    decoder = zlib.decompressobj(window_bits)
    for start in range(0, len(packed), _STEP_BYTES):
        rest = packed[start : start + _STEP_BYTES]
        while rest:
            if decoder.eof:
                decoder = zlib.decompressobj(window_bits)
            try:
                piece = decoder.decompress(rest, left + 1)
            except zlib.error:
                raise PackingError(f"is no {kind}, or damaged") from None
            left -= len(piece)
            if left < 0:
                raise TooLargeError
            pieces.append(piece)
            rest = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
    if not decoder.eof:
        raise PackingError(f"ends in the middle of its {kind}")
    return b"".join(pieces)
