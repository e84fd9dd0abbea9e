"""Counting incidents for Prometheus: how many opened, and how long it took until somebody had them, and to their end.

It is written where they open, are acknowledged and are resolved, under the lock of the incidents.
"""

import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, NamedTuple

from sqlalchemy import Connection, text

from watcher_server.incidents.kinds import TEXTS

# A minute to a week, in seconds: from what somebody at the screen does at once to what waits for after the holidays.
BOUNDS = (60.0, 300.0, 900.0, 3_600.0, 14_400.0, 43_200.0, 86_400.0, 259_200.0, 604_800.0, math.inf)

# From when it opened last, by ix_incident_event_incident_id. Who takes an acknowledgement back and acknowledges again
# was there in time all the same: only the first counts.
_TOOK = """
INSERT INTO incident_tally (measure, kind, at_most, number, seconds)
SELECT :measure, kind, at_most, count(*), sum(seconds)
FROM (
    SELECT incident.kind, CAST(extract(epoch FROM now() - coalesce(opening.at, incident.opened_at)) AS float8)
    FROM incident LEFT JOIN LATERAL (
        SELECT id, at FROM incident_event AS event
        WHERE event.incident_id = incident.id AND change IN ('opened', 'reopened')
        ORDER BY id DESC LIMIT 1
    ) AS opening ON true
    WHERE incident.id = ANY(CAST(:ids AS bigint[])) AND NOT (:measure = 'acknowledged' AND EXISTS (
        SELECT FROM incident_event AS event
        WHERE event.incident_id = incident.id AND change = 'acknowledged' AND event.id > coalesce(opening.id, 0)
    ))
) AS took (kind, seconds)
CROSS JOIN LATERAL (
    SELECT min(bound) FROM unnest(CAST(:bounds AS float8[])) AS bound WHERE seconds <= bound
) AS bucket (at_most)
GROUP BY kind, at_most ORDER BY kind, at_most
ON CONFLICT (measure, kind, at_most) DO UPDATE SET
    number = incident_tally.number + excluded.number, seconds = incident_tally.seconds + excluded.seconds
"""


def tally_opened(connection: Connection, incident_ids: Collection[int]) -> None:
    """Count these incidents, which opened in this transaction."""
    if incident_ids:
        statement = """
            INSERT INTO incident_tally (measure, kind, at_most, number, seconds)
            SELECT 'opened', kind, 'infinity', count(*), 0 FROM incident
            WHERE id = ANY(CAST(:ids AS bigint[])) GROUP BY kind
            ON CONFLICT (measure, kind, at_most) DO UPDATE SET number = incident_tally.number + excluded.number
        """
        connection.execute(text(statement), {"ids": list(incident_ids)})


def tally_took(
    connection: Connection, measure: Literal["acknowledged", "resolved"], incident_ids: Collection[int]
) -> None:
    """Count how long it took until these incidents were acknowledged or resolved, which they are at this moment.

    An acknowledgement is counted before it stands in the timeline.
    """
    if incident_ids:
        connection.execute(text(_TOOK), {"measure": measure, "ids": list(incident_ids), "bounds": list(BOUNDS)})


class Live(NamedTuple):
    """A number of incidents that are not resolved."""

    kind: str
    level: str
    state: str
    number: int


@dataclass(frozen=True, slots=True)
class Times:
    """How many took up to each of ``BOUNDS`` (seconds), all shorter ones included; and how long all took together."""

    numbers: Mapping[float, int]
    seconds: float


@dataclass(frozen=True, slots=True)
class IncidentFigures:
    """How many are not resolved now; how many opened in all, by kind; how long acknowledging and resolving took."""

    live: Collection[Live]
    opened: Mapping[str, int]
    acknowledged: Times
    resolved: Times


def read_figures(connection: Connection) -> IncidentFigures:
    """What Prometheus asks of incidents; every kind has a number."""
    tally = connection.execute(text("SELECT measure, kind, at_most, number, seconds FROM incident_tally")).all()
    opened = Counter({row.kind: row.number for row in tally if row.measure == "opened"})
    times = {}
    for measure in ("acknowledged", "resolved"):
        rows = [row for row in tally if row.measure == measure]
        numbers = [sum(row.number for row in rows if row.at_most == bound) for bound in BOUNDS]
        up_to = dict(zip(BOUNDS, accumulate(numbers), strict=True))
        times[measure] = Times(up_to, math.fsum(row.seconds for row in rows))
    # By ix_incident_open_pipeline_id, which has all that are not resolved.
    statement = """
        SELECT kind, level, state, count(*) FROM incident WHERE state <> 'resolved'
        GROUP BY kind, level, state ORDER BY kind, level, state
    """
    return IncidentFigures(
        [Live(*row) for row in connection.execute(text(statement))],
        {kind.value: opened[kind.value] for kind in TEXTS},
        **times,
    )
