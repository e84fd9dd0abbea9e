"""PagerDuty's Events API v2: an event for each incident, under its key, so that a repeated one does no harm."""

import time
from collections.abc import Sequence
from typing import Any

from watcher_server.alerts.channels.account import Account
from watcher_server.alerts.channels.asking import FailedTryError, judge, post_json
from watcher_server.alerts.channels.snapshot import About, Snapshot, shorten
from watcher_server.alerts.outcome import Outcome
from watcher_server.settings import Settings

_URLS = {"us": "https://events.pagerduty.com/v2/enqueue", "eu": "https://events.eu.pagerduty.com/v2/enqueue"}
# An event takes 512 KB; the details of a message are its first 20 incidents.
_LONGEST_DETAIL = 2_000
_SEVERITIES = {"INFO": "info", "WARNING": "warning", "ERROR": "error", "CRITICAL": "critical"}
# The lease of the lane is longer, and what is left after it is sent by the next try.
_SECONDS = 50.0


def render(snapshot: Snapshot, about: About | None) -> dict[str, Any]:
    """The event of an incident, or of the whole message where that is about none."""
    key = shorten(about.key if about else snapshot.key, 255)
    if snapshot.is_over:
        return {"event_action": "resolve", "dedup_key": key}
    if snapshot.change == "acknowledged":
        return {"event_action": "acknowledge", "dedup_key": key}
    level = about.level if about else snapshot.level
    summary = f"{snapshot.title}: {snapshot.message}"
    if about:
        summary = f"{about.subject}: {about.detail or snapshot.message}"
    payload = {
        "summary": shorten(summary, 1_024),
        "source": about.subject if about else "watcher",
        "severity": _SEVERITIES.get(level, "error"),
        "timestamp": snapshot.created_at.isoformat(),
        "class": snapshot.kind or "alert",
        "group": (about.owner if about else None) or "",
        "custom_details": {label: shorten(value, _LONGEST_DETAIL) for label, value in snapshot.details},
    }
    link = about.link if about else snapshot.link
    links = [{"href": link, "text": "Open in Watcher"}] if link else []
    return {"event_action": "trigger", "dedup_key": key, "payload": payload, "client": "Watcher", "links": links}


def send(snapshot: Snapshot, account: Account, settings: Settings) -> Outcome:
    """Send the events that have not arrived before, until one fails."""
    ends_at = time.monotonic() + _SECONDS
    arrived: set[str] = set(snapshot.arrived)
    abouts: Sequence[About | None] = snapshot.incidents or [None]
    for about in abouts:
        event = render(snapshot, about)
        if event["dedup_key"] in arrived:
            continue
        if time.monotonic() > ends_at:
            return Outcome(error="PagerDuty takes its time, and the rest follows", pause_seconds=1, arrived=arrived)
        failed = _enqueue(event, account, settings)
        if failed is not None:
            return Outcome(**{**vars(failed), "arrived": arrived})
        arrived.add(event["dedup_key"])
    return Outcome(sent_to="pagerduty")


def _enqueue(event: dict[str, Any], account: Account, settings: Settings) -> Outcome | None:
    """Send one event; what came of it, None when it arrived."""
    payload = {"routing_key": account.text("routing_key"), **event}
    url = _URLS[account.text("region", "us")]
    try:
        answer = post_json("PagerDuty", url, payload, settings, is_own=True)
    except FailedTryError as error:
        return error.outcome
    return None if answer.is_success else judge("PagerDuty", answer)
