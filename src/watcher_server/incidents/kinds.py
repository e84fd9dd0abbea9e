"""How bad each kind of incident is."""

from typing import NamedTuple

from watcher_server.alerts.kinds import Kind
from watcher_server.alerts.levels import LADDER, RANKS, Level

__all__ = ["RANKS", "TEXTS", "Kind", "KindText", "level_for"]


class KindText(NamedTuple):
    """How messages about incidents of a kind begin: the level without a criticality, the title, and what is over."""

    level: Level
    title: str
    over: str


TEXTS = {
    Kind.FAILING: KindText(Level.ERROR, "Pipeline Failing", "succeeded again"),
    Kind.LOST: KindText(Level.ERROR, "Pipeline Runs Lost", "ends its runs again"),
    Kind.SILENT: KindText(Level.ERROR, "Nothing Heard", "heard again"),
    Kind.MISSED: KindText(Level.WARNING, "Schedule Check - Missed Runs", "started again"),
    Kind.LATE: KindText(Level.WARNING, "Timeliness Check - Pipeline Execution", "late no more"),
    Kind.OVERLAPPING: KindText(Level.WARNING, "Pipeline Runs Overlapping", "overlapping no more"),
    Kind.STALE: KindText(Level.WARNING, "Freshness Check - Pipeline DML", "fresh again"),
    Kind.ANOMALOUS: KindText(Level.WARNING, "Anomaly Detection", "usual again"),
    Kind.TASK: KindText(Level.ERROR, "Celery Task Failure", "no longer failing"),
    Kind.QUEUE: KindText(Level.WARNING, "Celery Queue Alert", "short again"),
    Kind.CHANNEL: KindText(Level.ERROR, "Alert Channel Broken", "delivering again"),
    Kind.WATCHER: KindText(Level.CRITICAL, "Watcher Needs Attention", "well again"),
}


def level_for(level: Level, criticality: str | None) -> Level:
    """The level, one step lower for a pipeline of low criticality, and one higher for one of high criticality."""
    rank = RANKS[level] + {"low": -1, "normal": 0, "high": 1}[criticality or "normal"]
    return LADDER[min(max(rank, 0), len(LADDER) - 1)]
