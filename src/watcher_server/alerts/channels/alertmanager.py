"""Prometheus' Alertmanager, which groups, inhibits and repeats by itself.

It forgets what it is not told again, so the keeper tells it of all that is open once a minute.
"""

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from watcher_server.alerts.channels.account import Account
from watcher_server.alerts.channels.asking import judge, post_json
from watcher_server.alerts.channels.snapshot import About, Snapshot, shorten
from watcher_server.alerts.outcome import Outcome
from watcher_server.settings import Settings

# Three rounds of the keeper: what was not told again for so long is over for Alertmanager.
_LASTS = timedelta(minutes=3)
_LONGEST_TEXT = 2_000


def render(snapshot: Snapshot, labels: Mapping[str, str], now: datetime) -> list[dict[str, Any]]:
    """The incidents of a message as alerts; the message itself as one that passes, where it is about none."""
    if not snapshot.incidents:
        own = {"alertname": snapshot.title, "severity": snapshot.level.lower(), "message": snapshot.key, **labels}
        texts = {"summary": shorten(snapshot.message, _LONGEST_TEXT)}
        return [_alert(own, texts, snapshot.created_at, now + _LASTS, snapshot.link)]
    return render_incidents(snapshot.incidents, labels, now, title=snapshot.title, over=snapshot.is_over)


def render_incidents(
    incidents: Sequence[About],
    labels: Mapping[str, str],
    now: datetime,
    *,
    title: str | None = None,
    over: bool = False,
) -> list[dict[str, Any]]:
    """These incidents as alerts, each under labels that stay the same until its level changes."""
    alerts = []
    for about in incidents:
        own = {
            "alertname": f"Watcher {about.kind}",
            "incident": about.key,
            "kind": about.kind,
            "subject": about.subject,
            "severity": about.level.lower(),
            **({"owner": about.owner} if about.owner else {}),
            **labels,
        }
        texts = {"summary": f"{title or about.kind}: {about.subject}", "description": about.detail}
        ends_at = now if over or about.is_over else now + _LASTS
        alerts.append(_alert(own, texts, about.opened_at, ends_at, about.link))
    return alerts


def _alert(
    labels: Mapping[str, str], texts: Mapping[str, str], starts_at: datetime, ends_at: datetime, link: str | None
) -> dict[str, Any]:
    return {
        "labels": dict(labels),
        "annotations": {name: shorten(text, _LONGEST_TEXT) for name, text in texts.items() if text},
        "startsAt": min(starts_at, ends_at).isoformat(),
        "endsAt": ends_at.isoformat(),
        **({"generatorURL": link} if link else {}),
    }


def send(snapshot: Snapshot, account: Account, settings: Settings) -> Outcome:
    """Tell Alertmanager of the incidents of a message at once."""
    return post_alerts(render(snapshot, _labels(account), datetime.now(UTC)), account, settings)


def send_open(incidents: Sequence[About], account: Account, settings: Settings) -> Outcome:
    """Tell Alertmanager that these incidents are still open."""
    return post_alerts(render_incidents(incidents, _labels(account), datetime.now(UTC)), account, settings)


def _labels(account: Account) -> Mapping[str, str]:
    return {str(name): str(value) for name, value in (account.values.get("labels") or {}).items()}


def post_alerts(alerts: Sequence[Mapping[str, Any]], account: Account, settings: Settings) -> Outcome:
    """Post alerts to the API of Alertmanager."""
    headers = {}
    if account.text("username"):
        login = f"{account.text('username')}:{account.text('password')}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(login).decode()}"
    url = f"{account.text('url').rstrip('/')}/api/v2/alerts"
    answer = post_json("Alertmanager", url, alerts, settings, is_own="url" in account.own, headers=headers)
    return Outcome(sent_to="alertmanager") if answer.is_success else judge("Alertmanager", answer)
