"""The Gantt chart of an execution tree: the lane of each execution, from its start to its end."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from watcher_server.executions.reading import Node, Tree
from watcher_server.web.executions.facts import status_of

LANES = 200
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
    """A moment (UTC) on the axis, at ``x`` percent; ``shows`` names its precision: second, clock (minutes) or day."""

    at: datetime
    x: float
    shows: str
    text: str


@dataclass(frozen=True)
class Lane:
    """One execution of the chart. ``x`` and ``width`` are in percent of the axis, ``seconds`` until now while it runs.

    ``indent`` is its depth as far as that is drawn. ``is_current`` marks the execution of the page, ``is_above`` those
    above it.
    """

    node: Node
    depth: int
    indent: int
    status: str
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
        return any(lane.node.end_date is None for lane in self.lanes)


class _Axis:
    """From the first start to the last end, or to now where something runs."""

    def __init__(self, nodes: Sequence[Node], now: datetime) -> None:
        self.begin = min(node.start_date for node in nodes)
        last = max(_end_of(node, now) for node in nodes)
        self.seconds = max(1.0, (last - self.begin).total_seconds())

    def place(self, moment: datetime) -> float:
        return round(100 * (moment - self.begin).total_seconds() / self.seconds, 3)

    def ticks(self) -> Iterator[Tick]:
        """At most six ticks, at round times."""
        step = next((step for step in _STEPS if self.seconds / step <= 6), _STEPS[-1])  # noqa: PLR2004 - as the docstring says
        shows = "second" if step < _MINUTE else "clock" if step < _DAY else "day"
        form = {"second": "%H:%M:%S", "clock": "%H:%M", "day": "%Y-%m-%d"}[shows]
        moment = -(-self.begin.timestamp() // step) * step
        # The text of a tick at the very end would lie outside of the chart.
        last = min(_CALENDAR_ENDS, self.begin.timestamp() + 0.92 * self.seconds)
        while moment <= last:
            at = datetime.fromtimestamp(moment, UTC)
            yield Tick(at, self.place(at), shows, at.strftime(form))
            moment += step


def _end_of(node: Node, now: datetime) -> datetime:
    """Where the bar of an execution ends: at its end, or now; never before its start."""
    return max(node.start_date, node.end_date or now)


def page_of(tree: Tree, execution_id: int) -> int:
    """The page of lanes that the execution is on, from 1; the first when it is not in the tree."""
    return (tree.place_of(execution_id) or 0) // LANES + 1


def draw(tree: Tree, current: int, page: int, now: datetime) -> Chart:
    """One page of the tree's lanes; a page beyond the last one has no lanes."""
    axis = _Axis([node for node, _ in tree.order], now)
    above = tree.above(current)
    start = (page - 1) * LANES
    lanes = []
    for node, depth in tree.order[start : start + LANES]:
        end = _end_of(node, now)
        x = axis.place(node.start_date)
        # At least 0.4 percent, so that a run of a second is visible among runs of hours.
        width = max(0.4, round(axis.place(end) - x, 3))
        lane = Lane(
            node=node,
            depth=depth,
            indent=min(depth, 12),
            status=status_of(node.end_date, node.completed_successfully, node.outcome, is_anomalous=node.is_anomalous),
            seconds=(end - node.start_date).total_seconds(),
            x=min(x, 100 - width),
            width=width,
            is_current=node.id == current,
            is_above=node.id in above,
        )
        lanes.append(lane)
    return Chart(
        lanes=lanes,
        ticks=list(axis.ticks()),
        first=start + 1 if lanes else 0,
        last=start + len(lanes),
        total=len(tree.order),
        page=page,
        is_cut=tree.is_cut,
    )
