"""Globs of names: ``*`` is any text, ``?`` any one character, all else stands for itself.

Neither case matters nor how an accent is encoded.
"""

from fnmatch import fnmatchcase
from unicodedata import normalize


def glob_matches(glob: str, name: str) -> bool:
    """Whether the name is one that the glob means."""
    # fnmatch knows sets in brackets too; names may hold brackets.
    return fnmatchcase(_fold(name), _fold(glob).replace("[", "[[]"))


def like_pattern(glob: str) -> str:
    """The pattern of LIKE for names in lower case and in NFC."""
    escaped = normalize("NFC", glob.lower()).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%").replace("?", "_")


def _fold(text: str) -> str:
    return normalize("NFC", text.casefold())
