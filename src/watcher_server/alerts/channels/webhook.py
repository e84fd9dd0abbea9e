"""A webhook as https://www.standardwebhooks.com has them: signed, and with an id by which a repeated one is known."""

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from watcher_server.alerts.channels.account import Account
from watcher_server.alerts.channels.asking import Question, ask, judge
from watcher_server.alerts.channels.snapshot import About, Snapshot, shorten
from watcher_server.alerts.outcome import Outcome
from watcher_server.settings import Settings

_LARGEST = 20_000
_LONGEST_TEXT = 2_000


def render(snapshot: Snapshot) -> dict[str, Any]:
    """The event, below 20 KB: details and incidents that do not fit are left out, and counted."""
    details, incidents = list(snapshot.details), list(snapshot.incidents)[:20]
    event = _event(snapshot, details, incidents)
    while len(json.dumps(event)) >= _LARGEST:
        details, incidents = details[: len(details) // 2], incidents[: max(1, len(incidents) // 2)]
        event = _event(snapshot, details, incidents)
    return event


def _event(snapshot: Snapshot, details: Sequence[tuple[str, str]], incidents: Sequence[About]) -> dict[str, Any]:
    data = {
        "level": snapshot.level,
        "title": snapshot.title,
        "message": shorten(snapshot.message, _LONGEST_TEXT),
        "kind": snapshot.kind,
        "details": [[label, shorten(value, _LONGEST_TEXT)] for label, value in details],
        "incidents": [_incident(about) for about in incidents],
        "incident_count": len(snapshot.incidents),
        "link": snapshot.link,
    }
    return {"type": event_type(snapshot), "timestamp": snapshot.created_at.isoformat(), "data": data}


def event_type(snapshot: Snapshot) -> str:
    """``incident.opened``, ``incident.resolved`` and the like; ``alert`` for a message about no incident."""
    return f"incident.{snapshot.change}" if snapshot.change else "alert"


def _incident(about: About) -> dict[str, Any]:
    return {
        "id": about.id,
        "kind": about.kind,
        "level": about.level,
        "subject": shorten(about.subject, 200),
        "detail": shorten(about.detail, 500),
        "owner": about.owner,
        "opened_at": about.opened_at.isoformat(),
        "link": about.link,
    }


def sign(keys: Sequence[str], message_id: str, timestamp: int, content: bytes) -> str:
    """The signatures of a message by each key, as the header has them."""
    signed = f"{message_id}.{timestamp}.".encode() + content
    digests = [hmac.digest(_bytes_of(key), signed, hashlib.sha256) for key in keys]
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)


def _bytes_of(key: str) -> bytes:
    encoded = key.strip().removeprefix("whsec_")
    try:
        return base64.b64decode(encoded, validate=True)
    except binascii.Error:
        # A key that is no base64 is taken as it is.
        return encoded.encode()


def send(snapshot: Snapshot, account: Account, settings: Settings) -> Outcome:
    """Post the event. The receiver that answers 410 wants no more of them."""
    content, timestamp = json.dumps(render(snapshot)).encode(), int(time.time())
    headers = {
        "Content-Type": "application/json",
        "webhook-id": snapshot.key,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(account.texts("signing_keys"), snapshot.key, timestamp, content),
    }
    url, is_own = account.text("url"), "url" in account.own
    answer = ask(Question("The webhook", url, content, is_own, headers, whole_seconds=15.0), settings)
    if answer.is_success:
        return Outcome(sent_to="webhook")
    return judge("The webhook", answer, gone=[HTTPStatus.GONE])
