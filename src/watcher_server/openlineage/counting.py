"""How many events came, and what became of them."""

import re
from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from watcher_server.kit.durations import duration_text
from watcher_server.kit.fields import ResponseBody
from watcher_server.openlineage.masking import mask

# The namespaces that have something waiting, by a loose scan of ix_openlineage_event_waiting.
WITH_WAITING_LANES = """
WITH RECURSIVE lanes AS (
    (SELECT lane FROM openlineage_event WHERE applied_at IS NULL ORDER BY lane LIMIT 1)
    UNION ALL
    SELECT (
        SELECT event.lane FROM openlineage_event AS event
        WHERE event.applied_at IS NULL AND event.lane > lanes.lane ORDER BY event.lane LIMIT 1
    )
    FROM lanes WHERE lanes.lane IS NOT NULL
)"""
# What waits, and the first of each namespace, by the same index.
_WAITING = f"""{WITH_WAITING_LANES}
SELECT (SELECT count(*) FROM openlineage_event WHERE applied_at IS NULL) AS waiting, (
    SELECT extract(epoch FROM clock_timestamp() - min(first.received_at))::float8
    FROM (SELECT lane FROM lanes WHERE lane IS NOT NULL LIMIT 1000) AS lanes
    CROSS JOIN LATERAL (
        SELECT event.received_at FROM openlineage_event AS event
        WHERE event.lane = lanes.lane AND event.applied_at IS NULL ORDER BY event.id LIMIT 1
    ) AS first
) AS oldest_waiting_seconds, (SELECT count(*) FROM openlineage_failed_event) AS failed
"""  # noqa: S608 - of a constant
_TOTALS = """
SELECT coalesce(sum(applied), 0)::bigint AS applied, coalesce(sum(repeated), 0)::bigint AS repeated,
    coalesce(sum(ignored), 0)::bigint AS ignored
FROM openlineage_source
"""
# Backwards by ix_openlineage_event_id and the primary key: ids are given in the order of arrival.
_LAST = """
SELECT greatest(
    (SELECT received_at FROM openlineage_event ORDER BY id DESC LIMIT 1),
    (SELECT received_at FROM openlineage_failed_event ORDER BY id DESC LIMIT 1)
)
"""
_PRODUCERS = """
SELECT producer, lane, integration, applied + repeated + ignored AS events, last_at
FROM openlineage_source WHERE applied + repeated + ignored > 0 ORDER BY last_at DESC, lane, producer LIMIT 200
"""
_BY_INTEGRATION = """
SELECT integration, sum(applied)::bigint AS applied, sum(repeated)::bigint AS repeated,
    sum(ignored)::bigint AS ignored, sum(failed)::bigint AS failed, sum(bytes)::bigint AS bytes
FROM openlineage_source GROUP BY integration
"""
_DROPPED = "SELECT facet, known, number FROM openlineage_dropped_facet"
# What waits for longer than this is behind.
_LONG_SECONDS = 120
# Events may name any, so the labels of the metrics are these and ``other``.
_INTEGRATIONS = frozenset({
    "airflow", "dagster", "dbt", "dlt", "feast", "flink", "great_expectations", "hive", "openlineage", "prefect",
    "spark", "sqlmesh", "trino",
})  # fmt: skip
# Producers are addresses of source code: https://github.com/OpenLineage/OpenLineage/tree/1.54.0/client/python
_VERSION = re.compile(
    r"/(?:v|providers-openlineage/|(?:tree|blob|releases/tag)/[^/\d]{0,40})?(\d+\.\d+[\w.+-]*)(?:/|$)"
)


@dataclass(frozen=True)
class Waiting:
    """What is not applied: the events that wait, for how long the oldest does (seconds), and those that failed."""

    waiting: int
    oldest_waiting_seconds: float | None
    failed: int


NOTHING_WAITS = Waiting(0, None, 0)


class ProducerResponse(ResponseBody):
    """Who sends: a tool in a namespace, how many of its events were looked at, and when the last one was."""

    producer: str
    version: str | None
    namespace: str
    integration: str
    events: int
    last: datetime


class StatusResponse(ResponseBody):
    """What became of all events.

    `repeated` ones said nothing new, `ignored` ones are of jobs that `WATCHER_OPENLINEAGE_IGNORE` names. `received` is
    the sum of all; an event that is replayed counts again.
    """

    received: int
    applied: int
    repeated: int
    ignored: int
    waiting: int
    oldest_waiting_seconds: float | None
    failed: int
    last_received_at: datetime | None
    producers: list[ProducerResponse]


@dataclass(frozen=True)
class Figures:
    """What Prometheus reads: events by integration and result, their bytes, what is not applied, dropped facets."""

    events: dict[tuple[str, str], int]
    bytes: dict[str, int]
    waiting: Waiting
    dropped_facets: dict[str, int]


def read_waiting(connection: Connection) -> Waiting:
    """What is not applied now."""
    return Waiting(**connection.execute(text(_WAITING)).one()._asdict())


def stuck_text(now: Waiting) -> str | None:
    """What is wrong: events that failed, or that wait for long; None if nothing is."""
    oldest = now.oldest_waiting_seconds or 0.0
    parts = [
        f"{now.failed:,} {'event' if now.failed == 1 else 'events'} failed" if now.failed else "",
        f"{now.waiting:,} waiting, the oldest for {duration_text(oldest)}" if oldest > _LONG_SECONDS else "",
    ]
    return ", ".join(filter(None, parts)) or None


def read_status(connection: Connection) -> StatusResponse:
    """What became of all events, and who sent last."""
    now = read_waiting(connection)
    totals = connection.execute(text(_TOTALS)).one()
    return StatusResponse(
        received=totals.applied + totals.repeated + totals.ignored + now.waiting + now.failed,
        **totals._asdict(),
        **vars(now),
        last_received_at=connection.scalar(text(_LAST)),
        producers=[
            ProducerResponse(
                producer=mask(row.producer),
                version=read_version(row.producer),
                namespace=mask(row.lane),
                integration=row.integration,
                events=row.events,
                last=row.last_at,
            )
            for row in connection.execute(text(_PRODUCERS))
        ],
    )


def read_figures(connection: Connection) -> Figures:
    """The figures for Prometheus. An integration and a facet that few have count as ``other``."""
    events: Counter[tuple[str, str]] = Counter()
    size: Counter[str] = Counter()
    for row in connection.execute(text(_BY_INTEGRATION)):
        name = row.integration if row.integration in _INTEGRATIONS else "other"
        events.update({(name, result): getattr(row, result) for result in ("applied", "repeated", "ignored", "failed")})
        size[name] += row.bytes
    dropped: dict[str, int] = {}
    for row in connection.execute(text(_DROPPED)):
        name = row.facet if row.known else "other"
        dropped[name] = dropped.get(name, 0) + row.number
    return Figures(dict(events), dict(size), read_waiting(connection), dropped)


def read_version(producer: str) -> str | None:
    """The version of a producer, as far as its URL says it."""
    found = _VERSION.search(producer)
    return found[1] if found else None
