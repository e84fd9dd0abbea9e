"""The rule for a threshold pair: a number and its unit come together or not at all."""

from typing import Any, Protocol

from watcher_server.kit.errors import InvalidFieldError

PAIRS = (
    ("freshness_number", "freshness_datepart"),
    ("freshness_warning_number", "freshness_warning_datepart"),
    ("timeliness_number", "timeliness_datepart"),
    ("timeliness_warning_number", "timeliness_warning_datepart"),
)


class HasThresholds(Protocol):
    """Anything with the attributes of the threshold pairs."""

    freshness_number: Any
    freshness_datepart: Any
    freshness_warning_number: Any
    freshness_warning_datepart: Any
    timeliness_number: Any
    timeliness_datepart: Any
    timeliness_warning_number: Any
    timeliness_warning_datepart: Any


def check_pairs_carried(body: HasThresholds) -> None:
    """Refuse a request that carries one half of a pair.

    Raises:
        ValueError: pydantic turns it into a 422 that names the pair.
    """
    for number, datepart in PAIRS:
        if (getattr(body, number) is None) != (getattr(body, datepart) is None):
            raise ValueError(f"{number} and {datepart} must be provided together")


def check_pairs_stored(row: HasThresholds) -> None:
    """Refuse a change that would leave half a pair in the row.

    Raises:
        InvalidFieldError: names the half that is missing.
    """
    for number, datepart in PAIRS:
        if (getattr(row, number) is None) != (getattr(row, datepart) is None):
            missing = number if getattr(row, number) is None else datepart
            raise InvalidFieldError(missing, f"{number} and {datepart} must be set together")
