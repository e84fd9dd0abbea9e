"""Small drawings of numbers, as the coordinates of SVG: y grows downwards."""

from collections.abc import Sequence
from dataclasses import dataclass

from watcher_server.anomalies.events import RunAround

# The size of a spark in the units of its drawing; the margin leaves room for the dots at its edges.
SPARK_WIDTH, SPARK_HEIGHT = 130, 34
_MARGIN = 4.0


@dataclass(frozen=True, slots=True)
class Spark:
    """A line through the values of some runs, dots for the flagged ones, and the band of what is expected.

    A dot is its place, and whether its run is part of the event. ``band`` is its top and height, None where nothing is
    expected.
    """

    line: str
    dots: Sequence[tuple[float, float, bool]]
    band: tuple[float, float] | None
    runs: int


def draw_spark(
    runs: Sequence[RunAround],
    expected: tuple[float, float] | None,
    *,
    width: int = SPARK_WIDTH,
    height: int = SPARK_HEIGHT,
) -> Spark | None:
    """The spark of these runs, the oldest first; None without any."""
    if not runs:
        return None
    levels = [run.value for run in runs] + list(expected or ())
    low, high = min(levels), max(levels)

    def height_of(value: float) -> float:
        share = (value - low) / (high - low) if high > low else 0.5
        return round(height - _MARGIN - share * (height - 2 * _MARGIN), 1)

    step = (width - 2 * _MARGIN) / max(1, len(runs) - 1)
    places = [(round(_MARGIN + number * step, 1), height_of(run.value)) for number, run in enumerate(runs)]
    band = None
    if expected:
        bottom, top = map(height_of, expected)
        # Visible even where the range is narrow.
        band = top, max(1.0, round(bottom - top, 1))
    return Spark(
        line=" ".join(f"{left},{top}" for left, top in places),
        dots=[(*place, run.within) for place, run in zip(places, runs, strict=True) if run.flagged],
        band=band,
        runs=len(runs),
    )
