"""Statements as they may be shown: without the values in them."""

import re

# A literal or comment that is cut off goes on to the end. A block comment goes on to the last end of any, because
# comments can be nested, and hiding too much does no harm.
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
    masked = " ".join(_PARTS.sub(lambda part: part["name"] or (" " if part["comment"] else "'…'"), statement).split())
    return masked if len(masked) <= 200 else masked[:199] + "…"  # noqa: PLR2004 - as said
