"""The metrics of what other tools report by OpenLineage."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from watcher_server.openlineage.counting import Figures


def openlineage_families(figures: Figures) -> Iterator[Metric]:
    """What became of events, what waits and what failed."""
    events = CounterMetricFamily(
        "watcher_openlineage_events", "Events that were looked at.", labels=("integration", "result")
    )
    for labels, number in figures.events.items():
        events.add_metric(labels, number)
    yield events
    size = CounterMetricFamily(
        "watcher_openlineage_bytes", "Bytes of these events as they are stored, compressed.", labels=("integration",)
    )
    for integration, number in figures.bytes.items():
        size.add_metric((integration,), number)
    yield size
    dropped = CounterMetricFamily(
        "watcher_openlineage_dropped_facets", "Facets that could not be read, or are not known.", labels=("facet",)
    )
    for facet, number in figures.dropped_facets.items():
        dropped.add_metric((facet,), number)
    yield dropped
    now = figures.waiting
    yield GaugeMetricFamily("watcher_openlineage_waiting", "Events that are not applied yet.", value=now.waiting)
    yield GaugeMetricFamily(
        "watcher_openlineage_oldest_waiting_seconds",
        "How long the oldest of them has waited.",
        value=now.oldest_waiting_seconds or 0.0,
    )
    yield GaugeMetricFamily("watcher_openlineage_failed", "Events that could not be applied.", value=now.failed)
