"""Statements as they may be shown: without what somebody wrote into them."""

import re

_SHOWN_CHARACTERS = 200
_MASK = "'…'"

# What is cut off counts as going on to the end. A block comment goes on to the last end of one: they may lie in each
# other, and hiding too much does no harm.
_PARTS = re.compile(
    r"""
    (?P<name>"(?:[^"]|"")*(?:"|\Z))
    | (?P<comment>--[^\n]*|/\*.*\*/|/\*.*\Z)
    | (?P<value>
        \b[eE]'(?:[^'\\]|\\.|'')*(?:'|\\?\Z)
        | '(?:[^']|'')*(?:'|\Z)
        | (?P<dollar>\$(?:[^\W\d]\w*)?\$).*?(?:(?P=dollar)|\Z)
    )
    """,
    re.VERBOSE | re.DOTALL,
)


def mask_statement(statement: str) -> str:
    """The beginning of a statement in one line: no string literals, no comments, at most 200 characters.

    Parameters are not part of a statement as PostgreSQL shows it.
    """
    masked = " ".join(_PARTS.sub(_masked, statement).split())
    return masked if len(masked) <= _SHOWN_CHARACTERS else masked[: _SHOWN_CHARACTERS - 1] + "…"


def _masked(part: re.Match[str]) -> str:
    if part["name"] is not None:
        return part["name"]
    return " " if part["comment"] is not None else _MASK
