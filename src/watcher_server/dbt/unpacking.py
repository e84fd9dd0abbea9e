"""Unpacking gzip within bounds: what a bomb can cost is the limit."""

import zlib
from typing import Final

from watcher_server.dbt.errors import UploadError

GZIP: Final = b"\x1f\x8b"
_WITH_GZIP_HEADER = 31
_STEP_BYTES = 1024 * 1024


class TooLargeError(Exception):
    """What is packed is larger than the limit."""


def unpack(packed: bytes, most_bytes: int, name: str) -> bytes:
    """What a gzip file of one or more members holds.

    Raises:
        TooLargeError: it holds more than ``most_bytes``; no more than that was unpacked.
        UploadError: it is no gzip, or a part of one.
    """
    pieces: list[bytes] = []
    left = most_bytes
    rest = packed
    while rest:
        decoder = zlib.decompressobj(wbits=_WITH_GZIP_HEADER)
        while not decoder.eof:
            try:
                piece = decoder.decompress(rest, min(_STEP_BYTES, left + 1))
            except zlib.error:
                raise UploadError(name, f"{name} is no gzip file, or damaged") from None
            if not piece and not decoder.eof:
                raise UploadError(name, f"{name} ends in the middle of its gzip file")
            left -= len(piece)
            if left < 0:
                raise TooLargeError
            pieces.append(piece)
            rest = decoder.unconsumed_tail
        rest = decoder.unused_data
    return b"".join(pieces)
