"""Unpacking the gzip files of an upload, within bounds."""

from watcher_server.dbt.errors import UploadError
from watcher_server.kit.unpacking import PackingError, ungzip


def unpack(packed: bytes, most_bytes: int, name: str) -> bytes:
    """What a gzip file of one or more members holds.

    Raises:
        TooLargeError: it holds more than ``most_bytes``; no more than that was unpacked.
        UploadError: it is no gzip, or a part of one.
    """
    try:
        return ungzip(packed, most_bytes)
    except PackingError as error:
        raise UploadError(name, f"{name} {error}") from None
