"""The names of pipelines and addresses, and the parts of addresses: how long they may be.

Every way in goes through these: requests by the types of their bodies, dbt's files by :func:`shorten`,
OpenLineage by :func:`shorten_to_column`.
"""

import hashlib
from collections.abc import Callable
from typing import Annotated, Final

from pydantic import AfterValidator, StringConstraints

from watcher_server.kit.fields import check_no_nul
from watcher_server.kit.names import SentName, fold
from watcher_server.kit.text import check_no_controls
from watcher_server.settings import get_settings

# What the columns hold. An entry of an index may have no more than 2,704 bytes.
MOST_BYTES: Final = 1_000
MOST_PART: Final = 255
_MOST_CHARACTERS: Final = 150
_SHORT_PART: Final = 50
_HASH_DIGITS: Final = 20


def _fits(name: str) -> bool:
    return len(name.encode()) <= MOST_BYTES if get_settings().long_names else len(name) <= _MOST_CHARACTERS


def _check_length(name: SentName) -> SentName:
    # Lower-casing can lengthen a name, and so can NFC: both spellings are stored.
    if not (_fits(name) and _fits(name.spelling)):
        raise ValueError(
            f"must be at most {MOST_BYTES} bytes as UTF-8"
            if get_settings().long_names
            else f"must be at most {_MOST_CHARACTERS} characters (WATCHER_LONG_NAMES allows {MOST_BYTES} bytes)"
        )
    check_no_nul(name)
    return name


def longest_part() -> int:
    """The most characters of a part of an address, such as its schema."""
    return MOST_PART if get_settings().long_names else _SHORT_PART


def _check_part(part: str) -> str:
    if len(part) > longest_part():
        advice = "" if get_settings().long_names else f" (WATCHER_LONG_NAMES allows {MOST_PART})"
        raise ValueError(f"must be at most {longest_part()} characters{advice}")
    return check_no_nul(part)


# A name to look for. It may have been stored before names were checked for control characters.
KnownObjectName = Annotated[
    str,
    StringConstraints(max_length=MOST_BYTES),
    StringConstraints(strip_whitespace=True, min_length=1),
    AfterValidator(fold),
    AfterValidator(_check_length),
]
ObjectName = Annotated[KnownObjectName, AfterValidator(check_no_controls)]
ObjectPart = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=MOST_PART),
    # A plain text: of a part no spelling is kept.
    AfterValidator(lambda part: str(fold(part))),
    AfterValidator(_check_part),
    AfterValidator(check_no_controls),
]


def shorten(sent: str) -> SentName:
    """The name that another tool gives, within the length that names have.

    Of a longer one the beginning, ``~`` and 20 hexadecimal digits of its SHA-256: always the same, and hardly ever that
    of another one.
    """
    name = fold(sent)
    if _fits(name) and _fits(name.spelling):
        return name
    return _cut(name, _first_bytes if get_settings().long_names else _first_characters)


def shorten_to_column(sent: str) -> SentName:
    """As :func:`shorten`, within what the columns hold, whatever the settings allow in requests."""
    name = fold(sent)
    if max(len(name.encode()), len(name.spelling.encode())) <= MOST_BYTES:
        return name
    return _cut(name, _first_bytes)


def _cut(name: SentName, beginning: Callable[[str], str]) -> SentName:
    digits = hashlib.sha256(name.encode()).hexdigest()[:_HASH_DIGITS]
    short = SentName(f"{beginning(name)}~{digits}")
    short.spelling = f"{beginning(name.spelling)}~{digits}"
    return short


def _first_bytes(name: str) -> str:
    return name.encode()[: MOST_BYTES - 1 - _HASH_DIGITS].decode(errors="ignore")


def _first_characters(name: str) -> str:
    return name[: _MOST_CHARACTERS - 1 - _HASH_DIGITS]
