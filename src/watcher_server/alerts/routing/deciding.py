"""Who is told of an alert: for each channel when, by which route, and why not at once."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, text

from watcher_server.alerts.config.schemas import DEFAULT, ROOT, Route
from watcher_server.alerts.levels import RANKS
from watcher_server.alerts.routing import reasons
from watcher_server.alerts.routing.book import Book, read_book
from watcher_server.alerts.routing.calendars import is_open, next_digest, next_opening
from watcher_server.alerts.routing.facts import About, read_facts
from watcher_server.alerts.routing.matching import Facts

# What tells for the first time that something is wrong; it waits for others of its group.
OPENINGS = frozenset({"opened", "reopened"})
# What an incident began and ended with is told in any case; a route may leave out the rest.
_ALWAYS_TOLD = OPENINGS | {"resolved", "escalated", None}


@dataclass(frozen=True)
class Delivery:
    """A channel that is told, not before a moment (UTC); None is now.

    ``reason`` says why it waits, and with ``skip`` why the channel is not told at all. ``route`` is its name.
    """

    channel: str
    not_before: datetime | None = None
    reason: str | None = None
    route: str | None = None
    skip: bool = False


@dataclass(frozen=True)
class Occasion:
    """An alert as far as routes are concerned."""

    level: str
    kind: str | None = None
    change: str | None = None


def decide(connection: Connection, occasion: Occasion, subjects: Sequence[About]) -> list[Delivery]:
    """The channels that are told of an alert about these subjects, at least one.

    That something is over is told wherever people were told of it, whatever the routes are by now.
    """
    now = datetime.now(UTC)
    book = read_book(connection)
    if book.is_classic and not book.windows:
        return [Delivery(DEFAULT)]
    facts = read_facts(connection, subjects, kind=occasion.kind, level=occasion.level)
    facts = facts or [Facts(occasion.level, occasion.kind)]
    planned = _plan_all(book, facts, occasion, now)
    over = [book.window_over(each, now) for each in facts] if occasion.change is None else [None]
    if over[0] and all(over):
        # What is about no incident has nothing that could be told when the window ends.
        reason = f"quiet by the window {over[0][0].name}"
        planned = [replace(each, skip=True, reason=reason) for each in planned]
    # What is held back already is joined, and the end of something goes to where its beginning went.
    told = read_told(connection, {each.incident_id for each in facts if each.incident_id is not None})
    if occasion.change == "resolved" and told:
        return [_end_of(row, {each.channel: each for each in planned}.get(name)) for name, row in told.items()]
    return [_join(connection, each) for each in planned]


def _plan_all(book: Book, facts: Sequence[Facts], occasion: Occasion, now: datetime) -> list[Delivery]:
    found: dict[str, Delivery] = {}
    for each in facts:
        for route in book.taken_by(each):
            planned = plan(book, route, each, occasion, now)
            for channel in route.to:
                mine = replace(planned, channel=channel)
                found[channel] = min(found.get(channel, mine), mine, key=_urgency)
    return list(found.values())


def _urgency(delivery: Delivery) -> tuple[bool, bool, float]:
    moment = delivery.not_before
    return delivery.skip, moment is not None, moment.timestamp() if moment else 0.0


def plan(book: Book, route: Route, facts: Facts, occasion: Occasion, now: datetime) -> Delivery:
    """When a route tells its channels of something; the delivery names none of them yet."""
    planned = Delivery("", route=route.name)
    if route.updates == "none" and occasion.change not in _ALWAYS_TOLD:
        return replace(planned, skip=True, reason=f"the route {route.name} tells no updates")
    opens = opening_of(book, route, facts, now)
    if opens is not None and opens > now and route.hours is not None:
        if route.hours.outside == "drop" and occasion.change != "resolved":
            return replace(planned, skip=True, reason=f"outside the hours of {route.hours.calendar}")
        zone = book.calendars[route.hours.calendar].zone
        return replace(planned, not_before=opens, reason=reasons.held_until(opens, zone))
    if route.digest is not None:
        moment = next_digest(route.digest, now)
        return replace(planned, not_before=moment, reason=reasons.digest_at(moment, route.digest.zone))
    if route.group_wait and occasion.change in OPENINGS:
        reason = reasons.gathered(route.group_wait, route.name, group_text(route, facts))
        return replace(planned, not_before=now + route.group_wait, reason=reason)
    return planned


def opening_of(book: Book, route: Route, facts: Facts, now: datetime) -> datetime | None:
    """When the route speaks of this next: now while it may; None for a route without hours or that never opens."""
    if route.hours is None or route.hours.calendar not in book.calendars:
        return None
    passes = route.hours.exception
    if passes is not None and RANKS.get(facts.level, -1) >= RANKS[passes.removeprefix(">=")]:
        return now
    return next_opening(book.calendars[route.hours.calendar], now)


def is_silent(book: Book, route: Route, facts: Facts, now: datetime) -> bool:
    """Whether the route says nothing of this at the moment, for it is outside its hours."""
    if route.hours is None or opening_of(book, route, facts, now) == now:
        return False
    calendar = book.calendars.get(route.hours.calendar)
    return calendar is not None and not is_open(calendar, now)


def group_text(route: Route, facts: Facts) -> str:
    """The values of what a route groups by, in words; what shares its root is told together in any case."""
    values: Mapping[str, str | None] = {
        "owner": facts.owner,
        "tag": ", ".join(sorted(facts.tags)),
        "type": facts.type,
        "pipeline": facts.pipeline,
        "kind": facts.kind,
    }
    return ", ".join(f"{key} {values[key] or 'none'}" for key in route.group_by if key != ROOT)


# Where people were told of one of these, and not yet that it was over; and where that is held back, until when and why.
# By ix_alert_subject_incident_id and the unique key of notifications.
_TOLD_AT = """
SELECT told.channel, bool_or(told.state <> 'waiting' OR told.reason IS NULL) AS announced,
    min(told.next_try_at) FILTER (WHERE told.state = 'waiting' AND told.reason IS NOT NULL) AS next_try_at,
    min(told.reason) FILTER (WHERE told.state = 'waiting' AND told.reason IS NOT NULL) AS reason,
    (array_agg(told.route ORDER BY told.id DESC))[1] AS route
FROM alert_subject AS subject
JOIN alert ON alert.id = subject.alert_id AND alert.change IS DISTINCT FROM 'resolved'
JOIN notification AS told ON told.alert_id = alert.id AND told.state <> 'skipped'
WHERE subject.incident_id = ANY(CAST(:incident_ids AS bigint[])) AND NOT EXISTS (
    SELECT FROM alert_subject AS later
    JOIN alert AS over ON over.id = later.alert_id AND over.change = 'resolved'
    JOIN notification AS said ON said.alert_id = over.id AND said.channel = told.channel AND said.state <> 'skipped'
    WHERE later.incident_id = subject.incident_id AND over.id > alert.id
)
GROUP BY told.channel
"""


def read_told(connection: Connection, incident_ids: Collection[int]) -> Mapping[str, Row[Any]]:
    """The channels that were told that these are wrong, or are to be: ``announced``, ``next_try_at``, ``reason``."""
    if not incident_ids:
        return {}
    rows = connection.execute(text(_TOLD_AT), {"incident_ids": list(incident_ids)})
    return {row.channel: row for row in rows}


def _end_of(row: Row[Any], planned: Delivery | None) -> Delivery:
    if not row.announced:
        # Nobody there knows of it yet: it joins what is held back, which then says nothing of it.
        return Delivery(row.channel, row.next_try_at, row.reason, row.route)
    if planned is None or planned.skip:
        return Delivery(row.channel, route=row.route)
    return planned


# By ix_notification_waiting.
_SAME_GROUP = """
SELECT min(next_try_at) FROM notification
WHERE channel = :channel AND state = 'waiting' AND reason = :reason AND next_try_at > now()
"""


def _join(connection: Connection, delivery: Delivery) -> Delivery:
    """One that waits for its group is told when the first of the group is."""
    if delivery.reason is None or delivery.skip:
        return delivery
    first = connection.scalar(text(_SAME_GROUP), {"channel": delivery.channel, "reason": delivery.reason})
    return delivery if first is None else replace(delivery, not_before=first)
