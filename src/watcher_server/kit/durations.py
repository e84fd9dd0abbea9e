"""Durations as people read them."""

_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def duration_text(seconds: float) -> str:
    """``45s``, ``12m 30s``, ``3h 20m``, ``2d 5h``: whole seconds, in the two largest units that there are."""
    rest = max(0, round(seconds))
    for position, (unit, size) in enumerate(_UNITS[:-1]):
        if rest >= size:
            smaller, smaller_size = _UNITS[position + 1]
            count = rest % size // smaller_size
            return f"{rest // size}{unit} {count}{smaller}" if count else f"{rest // size}{unit}"
    return f"{rest}s"
