"""Where commands print tables."""

import sys

from rich.console import Console


def console() -> Console:
    """As wide as the terminal; in a pipe or a file, wide enough that no line of a table is broken."""
    return Console(width=None if sys.stdout.isatty() else 200)
