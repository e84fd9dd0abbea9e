"""Who sends events, how many wait, which failed and what of them was dropped: what the page of the sources shows."""

from collections.abc import Sequence
from contextlib import nullcontext
from datetime import datetime
from itertools import groupby
from typing import NamedTuple

from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.openlineage import replaying
from watcher_server.openlineage.counting import WITH_WAITING_LANES, read_version
from watcher_server.openlineage.envelope import hide_user
from watcher_server.telemetry.redaction import redact

# The page says "more than" beyond these.
MOST_COUNTED = 10_000

# A namespace is silent after a day, and after one and a half times its longest pause: that between two days on which
# its pipelines ran, of the last 60. Where fewer than two such days are known it is after eight days, so that what runs
# once a week is not called silent.
_SOURCES = """
WITH source AS (
    SELECT lane, producer, integration, applied, repeated, ignored, failed, last_at,
        max(last_at) OVER (PARTITION BY lane) AS lane_last_at
    FROM openlineage_source
), quiet AS (
    SELECT DISTINCT lane, lane_last_at FROM source WHERE lane_last_at < now() - interval '1 day'
), day AS (
    SELECT DISTINCT quiet.lane, metric.date_recorded AS day
    FROM quiet
    JOIN openlineage_job AS job ON left(job.namespace, 200) = quiet.lane
    JOIN daily_pipeline_metric AS metric ON metric.pipeline_id = job.pipeline_id
    WHERE metric.date_recorded BETWEEN CAST(now() AS date) - 60 AND CAST(quiet.lane_last_at AS date)
    UNION SELECT lane, CAST(lane_last_at AS date) FROM quiet
), pause AS (
    SELECT lane, coalesce(max(days) * 1.5, 8) AS days
    FROM (SELECT lane, day - lag(day) OVER (PARTITION BY lane ORDER BY day) AS days FROM day) AS gap
    GROUP BY lane
)
SELECT source.lane, source.producer, source.integration, source.applied, source.repeated, source.ignored,
    source.failed, source.last_at,
    pause.days IS NOT NULL AND source.lane_last_at < now() - greatest(pause.days, 1) * interval '1 day' AS is_silent
FROM source LEFT JOIN pause USING (lane)
ORDER BY source.lane_last_at DESC, source.lane, source.producer = '', source.last_at DESC, source.producer
LIMIT :most
"""

# How many wait by ix_openlineage_event_waiting, and since when by its first entry of each lane; how many came in the
# last minute among the latest ids.
_INBOX = f"""{WITH_WAITING_LANES}
SELECT
    (SELECT count(*) FROM (
        SELECT FROM openlineage_event WHERE applied_at IS NULL LIMIT :most + 1
    ) AS waiting) AS waiting,
    (SELECT min(first.received_at)
        FROM (SELECT lane FROM lanes WHERE lane IS NOT NULL LIMIT 1000) AS lanes
        CROSS JOIN LATERAL (
            SELECT received_at FROM openlineage_event AS event
            WHERE event.lane = lanes.lane AND event.applied_at IS NULL ORDER BY event.id LIMIT 1
        ) AS first
    ) AS waiting_since,
    (SELECT count(*) FROM (SELECT FROM openlineage_failed_event LIMIT :most + 1) AS failed) AS failed,
    (SELECT count(*) FROM (
        SELECT received_at FROM openlineage_event ORDER BY id DESC LIMIT :most + 1
    ) AS latest WHERE received_at > now() - interval '1 minute') AS in_a_minute
"""  # noqa: S608 - of a constant

_FAILED = """
SELECT id, received_at, failed_at, lane, error FROM openlineage_failed_event
ORDER BY failed_at DESC, id DESC LIMIT :most
"""
_DROPPED = """
SELECT facet, known, number FROM openlineage_dropped_facet ORDER BY known DESC, number DESC, facet LIMIT :most
"""
# Both by an index on the id.
_FIRST = """
SELECT id, lane, received_at, state
FROM (
    (SELECT id, lane, received_at, CASE WHEN applied_at IS NULL THEN 'waiting' ELSE 'applied' END AS state
        FROM openlineage_event WHERE id > :after ORDER BY id LIMIT 1)
    UNION ALL
    (SELECT id, lane, received_at, 'failed' FROM openlineage_failed_event WHERE id > :after ORDER BY id LIMIT 1)
) AS found
ORDER BY id LIMIT 1
"""


class Source(NamedTuple):
    """A producer that sends events of a namespace, and how many of them came to what."""

    producer: str
    integration: str
    version: str | None
    applied: int
    repeated: int
    ignored: int
    failed: int
    last_at: datetime

    @property
    def link(self) -> str | None:
        """The producer, where it is an address that a browser can open."""
        return self.producer if self.producer.startswith("https://") else None


class SendingNamespace(NamedTuple):
    """A namespace with its producers. ``is_silent``: it has been without events for longer than was usual."""

    name: str
    is_silent: bool
    sources: Sequence[Source]


class Inbox(NamedTuple):
    """How many events wait, how many failed, how many came in the last minute; each ``MOST_COUNTED`` + 1 at most."""

    waiting: int
    waiting_since: datetime | None
    failed: int
    in_a_minute: int


class FailedEvent(NamedTuple):
    """An event that could not be applied."""

    id: int
    received_at: datetime
    failed_at: datetime
    namespace: str
    error: str


class DroppedFacet(NamedTuple):
    """How often a facet was left out: one that Watcher uses could not be read, any other is not known."""

    name: str
    known: bool
    number: int


class FirstEvent(NamedTuple):
    """An event that came: ``state`` is ``waiting``, ``applied`` or ``failed``."""

    id: int
    namespace: str
    received_at: datetime
    state: str


async def read_sources(session: AsyncSession) -> Sequence[SendingNamespace]:
    """The namespaces that send or sent, the latest first, each with its producers."""
    rows = (await session.execute(text(_SOURCES), {"most": 500})).all()
    found = []
    for (lane, is_silent), group in groupby(rows, key=lambda row: (row.lane, row.is_silent)):
        sources = []
        for row in group:
            counts = (row.applied, row.repeated, row.ignored, row.failed)
            version = read_version(row.producer)
            sources.append(Source(redact(row.producer), row.integration, version, *counts, row.last_at))
        found.append(SendingNamespace(_shown(lane), is_silent, sources))
    return found


async def read_inbox(session: AsyncSession) -> Inbox:
    """What waits and what failed."""
    return Inbox._make((await session.execute(text(_INBOX), {"most": MOST_COUNTED})).one())


async def read_failed(session: AsyncSession, most: int) -> Sequence[FailedEvent]:
    """The latest events that could not be applied, without secrets."""
    rows = await session.execute(text(_FAILED), {"most": most})
    return [FailedEvent(row.id, row.received_at, row.failed_at, _shown(row.lane), redact(row.error)) for row in rows]


async def read_dropped(session: AsyncSession) -> Sequence[DroppedFacet]:
    """The facets that were left out most often; those first that should have been readable."""
    rows = await session.execute(text(_DROPPED), {"most": 100})
    return [DroppedFacet(redact(row.facet), row.known, row.number) for row in rows]


async def read_last_id(session: AsyncSession) -> int:
    """The id of the latest event; 0 before the first."""
    last_id = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM openlineage_event_id_seq"
    return int(await session.scalar(text(last_id)) or 0)


async def find_first_event(session: AsyncSession, after: int) -> FirstEvent | None:
    """The first event with a higher id than this; None while there is none."""
    row = (await session.execute(text(_FIRST), {"after": after})).one_or_none()
    return None if row is None else FirstEvent(row.id, _shown(row.lane), row.received_at, row.state)


async def replay_failed(session: AsyncSession, event_id: int | None = None) -> int:
    """Have all failed events applied again, or one of them; how many there were."""

    def replay(connection: Connection) -> int:
        if event_id is None:
            return replaying.replay_failed(lambda: nullcontext(connection)).events
        return replaying.replay_these(lambda: nullcontext(connection), [event_id]).events

    return await (await session.connection()).run_sync(replay)


def _shown(lane: str) -> str:
    return redact(hide_user(lane))
