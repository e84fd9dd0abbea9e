"""The drawing of an incident between its cause and its effects, in the units of SVG: y grows downwards."""

from collections.abc import Sequence
from dataclasses import dataclass

from watcher_server.incidents.reading import ListedIncident

BOX_WIDTH, BOX_HEIGHT = 216, 48
_GAP, _BETWEEN = 14, 56
# The list below the drawing has them all.
_MOST_BOXES = 6


@dataclass(frozen=True, slots=True)
class Box:
    """An incident and the upper left corner of its box; ``is_current`` marks the one whose page it is."""

    incident: ListedIncident
    x: int
    y: int
    is_current: bool = False


@dataclass(frozen=True, slots=True)
class Arrow:
    """A curve from one box to another; ``perhaps`` says that the one only may be the cause of the other."""

    path: str
    perhaps: bool


@dataclass(frozen=True, slots=True)
class Graph:
    """Causes at the left, effects at the right; those that are not drawn are counted."""

    width: int
    height: int
    boxes: Sequence[Box]
    arrows: Sequence[Arrow]
    hidden_causes: int
    hidden_effects: int


def draw_graph(
    incident: ListedIncident,
    root: ListedIncident | None,
    perhaps: Sequence[ListedIncident],
    effects: Sequence[ListedIncident],
) -> Graph | None:
    """The incident with its cause, what perhaps is one, and its effects; None without any of these."""
    causes = [*([root] if root else []), *perhaps]
    if not causes and not effects:
        return None
    left, right = causes[:_MOST_BOXES], effects[:_MOST_BOXES]
    height = _column_height(max(len(left), len(right), 1))
    middle = BOX_WIDTH + _BETWEEN if left else 0
    current = Box(incident, middle, (height - BOX_HEIGHT) // 2, is_current=True)
    before = _column(left, 0, height)
    after = _column(right, middle + BOX_WIDTH + _BETWEEN, height)
    arrows = [_arrow(box, current, perhaps=box.incident is not root) for box in before]
    arrows += [_arrow(current, box, perhaps=False) for box in after]
    return Graph(
        width=(after[0].x if after else middle) + BOX_WIDTH,
        height=height,
        boxes=[*before, current, *after],
        arrows=arrows,
        hidden_causes=len(causes) - len(left),
        hidden_effects=incident.effects - len(right),
    )


def _column_height(boxes: int) -> int:
    return boxes * (BOX_HEIGHT + _GAP) - _GAP


def _column(incidents: Sequence[ListedIncident], x: int, height: int) -> list[Box]:
    top = (height - _column_height(len(incidents))) // 2
    return [Box(incident, x, top + place * (BOX_HEIGHT + _GAP)) for place, incident in enumerate(incidents)]


def _arrow(source: Box, target: Box, *, perhaps: bool) -> Arrow:
    # It ends before the box, where the head of the arrow begins.
    start, end = source.x + BOX_WIDTH, target.x - 6
    half = (start + end) // 2
    one, other = source.y + BOX_HEIGHT // 2, target.y + BOX_HEIGHT // 2
    return Arrow(f"M{start} {one}C{half} {one} {half} {other} {end} {other}", perhaps)
