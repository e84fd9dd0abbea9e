"""The Gantt chart of an execution tree: who stands in which lane, from where to where."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from watcher_server.web.executions.reading import status_of
from watcher_server.web.executions.tree import Node, Tree

LANES = 200
_DEEPEST_INDENT = 12
_MOST_TICKS = 6
_WHOLE = 100.0
_LAST_TICK = 92.0
# A run of a second in a night of hours is seen all the same.
_LEAST_WIDTH = 0.4
_DAY = 86_400
_MINUTE = 60
_CALENDAR_ENDS = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()
_STEPS = (
    *(1, 2, 5, 10, 15, 30),
    *(minutes * _MINUTE for minutes in (1, 2, 5, 10, 15, 30)),
    *(hours * 3_600 for hours in (1, 2, 3, 6, 12)),
    *(days * _DAY for days in (1, 2, 7, 14, 30, 90, 365, 3_650, 36_500, 365_000)),
)


@dataclass(frozen=True)
class Tick:
    """A moment on the axis, at ``x`` percent; ``shows`` says what of it is written: second, clock or day."""

    at: datetime
    x: float
    shows: str

    @property
    def text(self) -> str:
        """What is written, in UTC."""
        return {"second": f"{self.at:%H:%M:%S}", "clock": f"{self.at:%H:%M}"}.get(self.shows, f"{self.at:%Y-%m-%d}")


@dataclass(frozen=True)
class Lane:
    """One execution of the chart. ``x`` and ``width`` are in percent of the axis, ``seconds`` until now while it runs.

    ``indent`` is its depth, as far as that is drawn. ``is_current``: the page is about it. ``is_above``: that one lies
    below it.
    """

    id: int
    name: str
    depth: int
    indent: int
    status: str
    start: datetime
    end: datetime | None
    seconds: float
    x: float
    width: float
    is_current: bool
    is_above: bool


@dataclass(frozen=True)
class Chart:
    """A page of lanes, ``first`` to ``last`` of ``total``, on the axis of the whole tree."""

    lanes: Sequence[Lane]
    ticks: Sequence[Tick]
    first: int
    last: int
    total: int
    page: int
    is_cut: bool

    @property
    def has_next(self) -> bool:
        """Whether lanes follow."""
        return self.last < self.total

    @property
    def is_running(self) -> bool:
        """Whether any lane of this page still grows."""
        return any(lane.end is None for lane in self.lanes)


class _Axis:
    """From the first start to the last end, or to now where something runs."""

    def __init__(self, nodes: Sequence[Node], now: datetime) -> None:
        self.begin = min(node.start_date for node in nodes)
        last = max(ends_at(node, now) for node in nodes)
        self.seconds = max(1.0, (last - self.begin).total_seconds())

    def place(self, moment: datetime) -> float:
        return round(_WHOLE * (moment - self.begin).total_seconds() / self.seconds, 3)

    def ticks(self) -> Iterator[Tick]:
        step = next((step for step in _STEPS if self.seconds / step <= _MOST_TICKS), _STEPS[-1])
        shows = "second" if step < _MINUTE else "clock" if step < _DAY else "day"
        moment = -(-self.begin.timestamp() // step) * step
        # What is written at the very end would stand outside.
        last = min(_CALENDAR_ENDS, self.begin.timestamp() + self.seconds * _LAST_TICK / _WHOLE)
        while moment <= last:
            at = datetime.fromtimestamp(moment, UTC)
            yield Tick(at, self.place(at), shows)
            moment += step


def ends_at(node: Node, now: datetime) -> datetime:
    """Where the bar of an execution ends: at its end, or now; never before its start."""
    return max(node.start_date, node.end_date or now)


def page_of(tree: Tree, execution_id: int) -> int:
    """The page of lanes that the execution is on, from 1; the first when it is not in the tree."""
    return (tree.place_of(execution_id) or 0) // LANES + 1


def draw(tree: Tree, current: int, page: int, names: Callable[[int], str], now: datetime) -> Chart:
    """One page of the tree's lanes; beyond the last one the lanes are none. ``names`` gives a pipeline's by its id."""
    axis = _Axis([node for node, _ in tree.order], now)
    above = tree.above(current)
    start = (page - 1) * LANES
    lanes = [
        _lane(node, depth, axis, now, names(node.pipeline_id), is_current=node.id == current, is_above=node.id in above)
        for node, depth in tree.order[start : start + LANES]
    ]
    return Chart(
        lanes=lanes,
        ticks=list(axis.ticks()),
        first=start + 1 if lanes else 0,
        last=start + len(lanes),
        total=len(tree.order),
        page=page,
        is_cut=tree.is_cut,
    )


def _lane(node: Node, depth: int, axis: _Axis, now: datetime, name: str, *, is_current: bool, is_above: bool) -> Lane:
    end = ends_at(node, now)
    x, to = axis.place(node.start_date), axis.place(end)
    width = max(_LEAST_WIDTH, round(to - x, 3))
    return Lane(
        id=node.id,
        name=name,
        depth=depth,
        indent=min(depth, _DEEPEST_INDENT),
        status=status_of(node.end_date, node.completed_successfully, is_flagged=node.is_flagged),
        start=node.start_date,
        end=node.end_date,
        seconds=(end - node.start_date) / timedelta(seconds=1),
        x=min(x, _WHOLE - width),
        width=width,
        is_current=is_current,
        is_above=is_above,
    )
