"""The metrics of incidents."""

import math
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from watcher_server.incidents.kinds import TEXTS
from watcher_server.incidents.tally import IncidentFigures, Times


def incident_families(figures: IncidentFigures) -> Iterator[Metric]:
    """How many incidents there are and were, and how long people took."""
    yield _live(figures)
    opened = CounterMetricFamily("watcher_incident_opened", "Incidents that opened.", labels=("kind",))
    for kind, number in figures.opened.items():
        opened.add_metric((kind,), number)
    yield opened
    yield _histogram(
        "watcher_incident_acknowledge_seconds",
        "Seconds from when an incident opened to when somebody acknowledged it.",
        figures.acknowledged,
    )
    yield _histogram(
        "watcher_incident_resolve_seconds",
        "Seconds from when an incident opened to when it was resolved.",
        figures.resolved,
    )


def _live(figures: IncidentFigures) -> Metric:
    family = GaugeMetricFamily(
        "watcher_incidents", "Incidents that are not resolved.", labels=("kind", "level", "state")
    )
    # Each kind has a series also while nothing is wrong, at the level that it usually has.
    numbers = {(kind.value, about.level.value, "open"): 0 for kind, about in TEXTS.items()}
    numbers |= {(live.kind, live.level, live.state): live.number for live in figures.live}
    for labels, number in numbers.items():
        family.add_metric(labels, number)
    return family


def _histogram(name: str, meaning: str, times: Times) -> Metric:
    buckets = [("+Inf" if math.isinf(bound) else f"{bound:.1f}", number) for bound, number in times.numbers.items()]
    return HistogramMetricFamily(name, meaning, buckets=buckets, sum_value=times.seconds)
