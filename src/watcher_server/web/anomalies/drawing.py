"""Small drawings of numbers, as the coordinates of SVG: y grows downwards."""

from collections.abc import Sequence
from dataclasses import dataclass

# What a spark is wide and high, in the units of its drawing, with room for the dots at its edges.
SPARK_WIDTH, SPARK_HEIGHT = 130, 34
_MARGIN = 4.0


@dataclass(frozen=True, slots=True)
class Point:
    """The value of one run, whether it was flagged, and whether it is one of those that the drawing is about."""

    value: float
    flagged: bool
    meant: bool


@dataclass(frozen=True, slots=True)
class Spark:
    """A line through the values of some runs, dots for the flagged ones, and the band of what is expected.

    A dot is its place, and whether it is meant. ``band`` is its top and height, None where nothing is known.
    """

    line: str
    dots: Sequence[tuple[float, float, bool]]
    band: tuple[float, float] | None
    runs: int


def draw_spark(points: Sequence[Point], expected: tuple[float, float] | None) -> Spark | None:
    """The spark of these runs, the oldest first; None without any."""
    if not points:
        return None
    levels = [point.value for point in points] + list(expected or ())
    low, high = min(levels), max(levels)

    def height_of(value: float) -> float:
        share = (value - low) / (high - low) if high > low else 0.5
        return round(SPARK_HEIGHT - _MARGIN - share * (SPARK_HEIGHT - 2 * _MARGIN), 1)

    step = (SPARK_WIDTH - 2 * _MARGIN) / max(1, len(points) - 1)
    places = [(round(_MARGIN + number * step, 1), height_of(point.value)) for number, point in enumerate(points)]
    return Spark(
        line=" ".join(f"{left},{top}" for left, top in places),
        dots=[(*place, point.meant) for place, point in zip(places, points, strict=True) if point.flagged],
        band=_band(height_of(expected[1]), height_of(expected[0])) if expected else None,
        runs=len(points),
    )


def _band(top: float, bottom: float) -> tuple[float, float]:
    # A range of next to nothing is still to be seen.
    return top, max(1.0, round(bottom - top, 1))
