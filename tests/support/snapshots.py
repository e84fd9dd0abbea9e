"""Builders of what a channel is told."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from watcher_server.alerts.channels.snapshot import About, Snapshot
from watcher_server.alerts.sending import ChannelRow
from watcher_server.alerts.service import alert_text

OPENED_AT = datetime(2026, 11, 22, 2, 14, 9, tzinfo=UTC)


def about(number: int = 12, **fields: Any) -> About:
    """An incident of the pipeline orders."""
    incident = About(
        id=number,
        key=f"watcher-{number}-20261122021409",
        kind="failing",
        level="ERROR",
        subject="orders",
        detail="3 runs in a row",
        is_over=False,
        opened_at=OPENED_AT,
        owner="finance",
        link=f"https://watcher.example/ui/incidents/{number}",
    )
    return replace(incident, **fields)


def snapshot(**fields: Any) -> Snapshot:
    """A message that orders fails."""
    values: dict[str, Any] = {
        "key": "7-20261122021409",
        "level": "ERROR",
        "title": "Pipeline Failing",
        "message": "Pipeline 'orders' (ID: 1) failed",
        "created_at": OPENED_AT,
        "details": [("Since", "2026-11-22 00:14:02 UTC, owner finance")],
        "kind": "failing",
        "change": "opened",
        "incidents": [about()],
        "link": "https://watcher.example/ui/incidents/12",
        **fields,
    }
    told = {name: values[name] for name in ("level", "title", "message", "details", "created_at")}
    return Snapshot(**{"text": alert_text(**told), **values})


def resolved(**fields: Any) -> Snapshot:
    """A message that it is over."""
    return snapshot(**{"level": "RESOLVED", "change": "resolved", "incidents": [about(is_over=True)], **fields})


def channel(type_: str, secrets: bytes | None = None, /, **spec: Any) -> ChannelRow:
    """A channel of a type."""
    return ChannelRow("ops", type_, {"type": type_, **spec}, secrets)
