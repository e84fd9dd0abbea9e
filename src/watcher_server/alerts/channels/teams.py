"""Microsoft Teams, by a workflow that posts an adaptive card for each request."""

import json
from typing import Any
from urllib.parse import urlsplit

from watcher_server.alerts.channels.account import Account
from watcher_server.alerts.channels.asking import judge, post_json
from watcher_server.alerts.channels.snapshot import Snapshot, shorten
from watcher_server.alerts.outcome import Outcome
from watcher_server.alerts.service import SYMBOLS
from watcher_server.settings import Settings

# Teams takes 28 KB of what a workflow makes of the card.
_LARGEST = 20_000
_COLORS = {"INFO": "accent", "WARNING": "warning", "ERROR": "attention", "CRITICAL": "attention", "RESOLVED": "good"}


def render(snapshot: Snapshot) -> dict[str, Any]:
    """An adaptive card of at most 20 KB: details that do not fit are counted."""
    details = list(snapshot.details)
    message = _message(snapshot, details)
    while details and len(json.dumps(message)) > _LARGEST:
        details = details[: len(details) // 2]
        message = _message(snapshot, details)
    return message


def _message(snapshot: Snapshot, details: list[tuple[str, str]]) -> dict[str, Any]:
    lines = [_line(f"{label}: ", value) for label, value in details]
    if missing := len(snapshot.details) - len(details):
        lines.append(_line("", f"and {missing:,} more"))
    title = f"{SYMBOLS[snapshot.level]} {snapshot.level} {snapshot.title}"
    color = _COLORS[snapshot.level]
    heading = {"type": "TextRun", "text": title, "weight": "bolder", "size": "large", "color": color}
    card: dict[str, Any] = {
        "type": "AdaptiveCard",
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "version": "1.4",
        "body": [{"type": "RichTextBlock", "inlines": [heading]}, _line("", snapshot.message), *lines],
    }
    if snapshot.link:
        card["actions"] = [{"type": "Action.OpenUrl", "title": "Open in Watcher", "url": snapshot.link}]
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}


def _line(label: str, text: str) -> dict[str, Any]:
    # A TextBlock would read mark-up in a name, and a TextRun shows it as it is.
    runs = [{"type": "TextRun", "text": shorten(label, 200), "weight": "bolder"}] if label else []
    return {"type": "RichTextBlock", "inlines": [*runs, {"type": "TextRun", "text": shorten(text, 1_000)}]}


def refuse_retired(url: str) -> str | None:
    """Why the URL of a connector cannot be used; None for any other."""
    host = urlsplit(url).hostname or ""
    # The connectors that came before workflows.
    is_retired = host.endswith(("webhook.office.com", "outlook.office.com"))
    return f"Microsoft has retired {host}: make a workflow in Teams, and use its URL" if is_retired else None


def send(snapshot: Snapshot, account: Account, settings: Settings) -> Outcome:
    """Hand the card to the workflow; that it took it (202) does not yet say that Teams has shown it."""
    url = account.text("url")
    if refusal := refuse_retired(url):
        return Outcome(error=refusal, gone=True)
    answer = post_json("Teams", url, render(snapshot), settings, is_own="url" in account.own)
    return Outcome(sent_to="teams") if answer.is_success else judge("Teams", answer)
