"""Durations as text."""

import re
from datetime import timedelta

_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))

_LONGEST = timedelta(days=3650)
# From here on nobody asks for milliseconds.
_WHOLE_FROM_SECONDS = 10


def exact_duration_text(seconds: float) -> str:
    """``340 ms`` and ``1.25s`` below ten seconds, to the millisecond; above as :func:`duration_text`."""
    if seconds < 1:
        return f"{max(0, round(1000 * seconds))} ms"
    return f"{round(seconds, 3):g}s" if seconds < _WHOLE_FROM_SECONDS else duration_text(seconds)


def duration_text(seconds: float) -> str:
    """``45s``, ``12m 30s``, ``3h 20m``, ``2d 5h``: whole seconds, in the two largest units."""
    rest = max(0, round(seconds))
    for position, (unit, size) in enumerate(_UNITS[:-1]):
        if rest >= size:
            smaller, smaller_size = _UNITS[position + 1]
            count = rest % size // smaller_size
            return f"{rest // size}{unit} {count}{smaller}" if count else f"{rest // size}{unit}"
    return f"{rest}s"


_WRITTEN = re.compile(r"(\d{1,6})\s*([smhd])")


def read_duration(text: str) -> timedelta | None:
    """The time that ``90d``, ``12h``, ``30m`` or ``45s`` means; None when it is none of these, or over ten years."""
    match = _WRITTEN.fullmatch(text.strip().lower())
    found = timedelta(seconds=int(match[1]) * dict(_UNITS)[match[2]]) if match else None
    return found if found is not None and found <= _LONGEST else None
