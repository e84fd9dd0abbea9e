"""Which open incidents are told again, by ``repeat``, and which are told to others, by ``escalate``."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, text

from watcher_server.alerts.config.schemas import Route
from watcher_server.alerts.routing.book import read_book
from watcher_server.alerts.routing.deciding import Delivery, is_silent
from watcher_server.alerts.routing.facts import read_facts


class Unattended(NamedTuple):
    """An incident that is open, and since when nobody has acknowledged it (UTC)."""

    incident_id: int
    since: datetime
    pipeline_id: int | None = None


@dataclass(frozen=True)
class Due:
    """What is told now: a ``change`` (reminder or escalated) of these incidents, to the channels of a route."""

    change: str
    route: str
    channels: tuple[str, ...]
    incident_ids: list[int] = field(default_factory=list, compare=False)

    @property
    def deliveries(self) -> list[Delivery]:
        """To each of the channels, at once."""
        return [Delivery(channel, route=self.route) for channel in self.channels]


# By ix_alert_subject_incident_id and the unique key of notifications.
_TOLD = """
SELECT subject.incident_id, told.channel, bool_or(told.state = 'waiting') AS waits,
    bool_or(told.state = 'waiting' AND told.reason IS NULL) AS is_stuck,
    min(coalesce(told.sent_at, told.created_at)) FILTER (WHERE told.state IN ('sent', 'merged')) AS first_at,
    max(coalesce(told.sent_at, told.created_at)) FILTER (WHERE told.state IN ('sent', 'merged')) AS last_at
FROM unnest(CAST(:ids AS bigint[]), CAST(:sinces AS timestamptz[])) AS open (id, since)
JOIN alert_subject AS subject ON subject.incident_id = open.id
JOIN alert ON alert.id = subject.alert_id AND alert.change IS DISTINCT FROM 'resolved'
JOIN notification AS told ON told.alert_id = alert.id AND told.state <> 'skipped'
    AND coalesce(told.sent_at, told.created_at) >= open.since
GROUP BY subject.incident_id, told.channel
"""

# The breaker of their lane has opened.
_DEAD = "SELECT name FROM channel WHERE gone OR failures >= 5"


def may_be_due(connection: Connection) -> bool:
    """Whether any route repeats or escalates."""
    return any(route.repeat or route.escalate for route in read_book(connection).routes)


def find_due(connection: Connection, unattended: Sequence[Unattended]) -> list[Due]:
    """What of these incidents is to be told now; those of one route to the same channels together."""
    if not unattended:
        return []
    book = read_book(connection)
    now = datetime.now(UTC)
    told = _read_told(connection, unattended)
    dead = set(connection.scalars(text(_DEAD)))
    facts = read_facts(connection, unattended, kind=None, level="")
    found: dict[Due, Due] = {}
    for each, known in zip(unattended, facts, strict=True):
        for route in book.taken_by(known):
            state = _State(route, told.get(each.incident_id, {}), dead, now)
            for due in state.find(may_repeat=not is_silent(book, route, known, now)):
                found.setdefault(due, due).incident_ids.append(each.incident_id)
    return list(found.values())


def _read_told(connection: Connection, unattended: Sequence[Unattended]) -> Mapping[int, Mapping[str, Row[Any]]]:
    ids, sinces = [each.incident_id for each in unattended], [each.since for each in unattended]
    found: dict[int, dict[str, Row[Any]]] = {}
    for row in connection.execute(text(_TOLD), {"ids": ids, "sinces": sinces}):
        found.setdefault(row.incident_id, {})[row.channel] = row
    return found


class _State(NamedTuple):
    """An incident as a route sees it: what its channels were told since it is unattended."""

    route: Route
    told: Mapping[str, Row[Any]]
    dead: Collection[str]
    now: datetime

    def find(self, *, may_repeat: bool) -> Iterator[Due]:
        if may_repeat and self._is_to_repeat():
            yield Due("reminder", self.route.name, tuple(self.route.to))
        channels = list(self.route.to)
        for step in self.route.escalate:
            new = tuple(channel for channel in step.to if channel not in self.told)
            if new and (self._is_dead(channels) or self._has_waited(channels, step.after.total_seconds())):
                yield Due("escalated", self.route.name, new)
                # The next step waits for what this one does.
                return
            channels += step.to

    def _is_to_repeat(self) -> bool:
        told = [self.told[channel] for channel in self.route.to if channel in self.told]
        last = max((row.last_at for row in told if row.last_at is not None), default=None)
        if self.route.repeat is None or self.route.digest is not None or last is None:
            return False
        return self.now - last >= self.route.repeat and not any(row.waits for row in told)

    def _is_dead(self, channels: Sequence[str]) -> bool:
        """Whether the first channel is dead and has not said it, and nobody else was told either."""
        first = self.told.get(channels[0])
        heard = any(self.told[channel].first_at is not None for channel in channels if channel in self.told)
        return first is not None and bool(first.is_stuck) and channels[0] in self.dead and not heard

    def _has_waited(self, channels: Sequence[str], seconds: float) -> bool:
        """Whether the first who was told has had that long."""
        moments = [self.told[channel].first_at for channel in channels if channel in self.told]
        first = min((moment for moment in moments if moment is not None), default=None)
        return first is not None and bool((self.now - first).total_seconds() >= seconds)
