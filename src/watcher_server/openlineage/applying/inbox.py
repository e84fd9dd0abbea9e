"""Taking events that wait, and saying what became of them."""

import json
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from sqlalchemy import Connection, Row, text

from watcher_server.database.locks import OPENLINEAGE_LOCK
from watcher_server.openlineage.counting import WITH_WAITING_LANES
from watcher_server.openlineage.envelope import hide_user, parse_event, read_envelope
from watcher_server.openlineage.reading import UNKNOWN, Reading, read_event

# A process that hangs in a turn keeps the lock no longer than this.
_LOCK = """
SELECT set_config('idle_in_transaction_session_timeout', '30s', true), pg_try_advisory_xact_lock(:key)
"""

# Round-robin over the namespaces, so that a large run of one does not hold up the others: first the oldest event of
# each, then the second, and so on. The namespaces that have any by a loose scan of ix_openlineage_event_waiting. No
# more bytes at a time than fit into memory unpacked.
_TAKE = f"""{WITH_WAITING_LANES}, oldest AS (
    SELECT found.id, found.received_at, found.place
    FROM (SELECT lane FROM lanes WHERE lane IS NOT NULL LIMIT 1000) AS lanes
    CROSS JOIN LATERAL (
        SELECT event.id, event.received_at, row_number() OVER (ORDER BY event.id) AS place
        FROM openlineage_event AS event
        WHERE event.lane = lanes.lane AND event.applied_at IS NULL ORDER BY event.id LIMIT :most
    ) AS found
    ORDER BY found.place, found.id LIMIT :most
), sized AS (
    SELECT event.id, event.received_at, event.lane, event.body, oldest.place,
        sum(octet_length(event.body)) OVER (ORDER BY oldest.place, event.id) - octet_length(event.body) AS bytes_before
    FROM oldest JOIN openlineage_event AS event USING (id, received_at)
)
SELECT id, received_at, lane, body FROM sized WHERE bytes_before < :most_bytes ORDER BY place, id
"""  # noqa: S608 - of a constant

_TAKE_THESE = """
SELECT id, received_at, lane, body FROM openlineage_event
WHERE id = ANY(CAST(:ids AS bigint[])) AND applied_at IS NULL ORDER BY id
"""

_DONE = """
UPDATE openlineage_event AS event SET applied_at = now()
FROM unnest(CAST(:ids AS bigint[]), CAST(:received AS timestamptz[])) AS done (id, received_at)
WHERE event.id = done.id AND event.received_at = done.received_at
"""

_FAIL = """
WITH failed AS (
    DELETE FROM openlineage_event WHERE id = :id AND applied_at IS NULL RETURNING id, received_at, lane, body
)
INSERT INTO openlineage_failed_event (id, received_at, lane, error, body)
SELECT id, received_at, lane, CAST(:error AS text), body FROM failed
RETURNING lane
"""

_COUNT = """
INSERT INTO openlineage_source AS source (lane, producer, integration, applied, repeated, ignored, failed, bytes)
SELECT lane, producer, integration, applied, repeated, ignored, failed, bytes
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS counted (
    lane text, producer text, integration text, applied bigint, repeated bigint, ignored bigint, failed bigint,
    bytes bigint
)
ORDER BY lane, producer
ON CONFLICT (lane, producer) DO UPDATE SET
    integration = CASE excluded.integration WHEN 'openlineage' THEN source.integration ELSE excluded.integration END,
    applied = source.applied + excluded.applied, repeated = source.repeated + excluded.repeated,
    ignored = source.ignored + excluded.ignored, failed = source.failed + excluded.failed,
    bytes = source.bytes + excluded.bytes, last_at = now()
"""

# So that invented names do not fill the table.
_COUNT_DROPPED = """
INSERT INTO openlineage_dropped_facet AS dropped (facet, known, number)
SELECT facet, known, number
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS counted (facet text, known boolean, number bigint)
WHERE known OR (SELECT count(*) FROM openlineage_dropped_facet) < 500
    OR EXISTS (
        SELECT FROM openlineage_dropped_facet AS old WHERE old.facet = counted.facet AND old.known = counted.known
    )
ORDER BY facet, known
ON CONFLICT (facet, known) DO UPDATE SET number = dropped.number + excluded.number
"""

_COUNTED = ("applied", "repeated", "ignored", "bytes")


@dataclass(frozen=True, slots=True)
class Taken:
    """An event that waits: its place in the inbox, what it says, whether it is ignored, and its bytes as stored."""

    id: int
    received_at: datetime
    lane: str
    reading: Reading
    ignored: bool
    bytes: int


@dataclass
class Tally:
    """What became of the events of a turn, by lane and producer, and which tool each producer is of."""

    counts: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    integrations: dict[tuple[str, str], str] = field(default_factory=dict)
    dropped: Counter[tuple[str, bool]] = field(default_factory=Counter)

    def add(self, taken: Taken, what: str) -> None:
        """Count an event as ``applied``, ``repeated`` or ``ignored``."""
        key, integration = (hide_user(taken.lane), taken.reading.producer), taken.reading.integration
        self.counts.setdefault(key, Counter()).update({what: 1, "bytes": taken.bytes})
        # One event of a tool may say what it is and another not.
        if integration != UNKNOWN or key not in self.integrations:
            self.integrations[key] = integration
        if what == "applied":
            self.dropped.update(taken.reading.dropped)


def may_apply(connection: Connection) -> bool:
    """Whether this transaction is the one that applies; it is until it ends."""
    return bool(connection.execute(text(_LOCK), {"key": OPENLINEAGE_LOCK}).one()[1])


def take(connection: Connection, most: int) -> Sequence[Row[Any]]:
    """The events whose turn it is, ``most`` at most."""
    return connection.execute(text(_TAKE), {"most": most, "most_bytes": 4 * 1024 * 1024}).all()


def take_these(connection: Connection, ids: Sequence[int]) -> Sequence[Row[Any]]:
    """Those of these events that still wait."""
    return connection.execute(text(_TAKE_THESE), {"ids": list(ids)}).all()


def read(row: Row[Any], ignore: Sequence[str]) -> Taken:
    """What an event of the inbox says; ``ignore`` has the globs of jobs that are dropped."""
    envelope = read_envelope(parse_event(zlib.decompress(row.body)))
    reading = read_event(envelope, row.received_at)
    named = reading.job or envelope.dataset
    name = f"{named.namespace}/{named.name}" if named else ""
    is_ignored = reading.nameless or any(fnmatchcase(name, glob) for glob in ignore)
    return Taken(row.id, row.received_at, row.lane, reading, is_ignored, len(row.body))


def mark_applied(connection: Connection, taken: Sequence[Taken], tally: Tally) -> None:
    """These are done; count them."""
    connection.execute(text(_DONE), {"ids": [one.id for one in taken], "received": [one.received_at for one in taken]})
    rows = [
        {"lane": lane, "producer": producer, "integration": tally.integrations[lane, producer], "failed": 0}
        | {what: counts[what] for what in _COUNTED}
        for (lane, producer), counts in tally.counts.items()
    ]
    connection.execute(text(_COUNT), {"rows": json.dumps(rows)})
    if tally.dropped:
        dropped = [{"facet": name, "known": known, "number": n} for (name, known), n in tally.dropped.items()]
        connection.execute(text(_COUNT_DROPPED), {"rows": json.dumps(dropped)})


def put_aside(connection: Connection, event_id: int, error: str) -> bool:
    """Keep an event that cannot be applied where it is found; whether it still waited."""
    lane = connection.scalar(text(_FAIL), {"id": event_id, "error": error})
    if lane is None:
        return False
    counted = {"lane": hide_user(lane), "producer": "", "integration": UNKNOWN, **dict.fromkeys(_COUNTED, 0)}
    connection.execute(text(_COUNT), {"rows": json.dumps([{**counted, "failed": 1}])})
    return True
