"""How bad something is."""

from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"
    CRITICAL = "CRITICAL"
    RESOLVED = "RESOLVED"


# The levels of what is wrong, the mildest first.
LADDER = (Level.INFO, Level.WARNING, Level.ERROR, Level.CRITICAL)
RANKS = {level.value: rank for rank, level in enumerate(LADDER)}
