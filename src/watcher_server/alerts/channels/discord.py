"""Discord, by a webhook."""

import re
from http import HTTPStatus
from typing import Any

import httpx

from watcher_server.alerts.channels.account import Account
from watcher_server.alerts.channels.asking import judge, post_json
from watcher_server.alerts.channels.snapshot import Snapshot, shorten
from watcher_server.alerts.outcome import Outcome
from watcher_server.alerts.service import SYMBOLS
from watcher_server.settings import Settings

# https://discord.com/developers/docs/resources/message#embed-object-embed-limits: a title takes 256 characters, a
# description 4,096, all of an embed 6,000. It counts as JavaScript does, where a symbol may count twice.
_LONGEST_TITLE = 250
_LONGEST_TEXT = 4_000
_COLORS = {"INFO": 0x3B82F6, "WARNING": 0xF59E0B, "ERROR": 0xDC2626, "CRITICAL": 0x7F1D1D, "RESOLVED": 0x16A34A}
_MARK_UP = re.compile(r"([\\*_~`|>\[\]()#<@])")


def render(snapshot: Snapshot) -> dict[str, Any]:
    """An embed that mentions nobody."""
    lines = [snapshot.message, "", *(f"• {label}: {value}" for label, value in snapshot.details)]
    embed = {
        "title": shorten(f"{SYMBOLS[snapshot.level]} {snapshot.level} {snapshot.title}", _LONGEST_TITLE),
        "description": shorten(_MARK_UP.sub(r"\\\1", "\n".join(lines).strip()), _LONGEST_TEXT),
        "color": _COLORS[snapshot.level],
        "timestamp": snapshot.created_at.isoformat(),
        **({"url": snapshot.link} if snapshot.link else {}),
    }
    return {"embeds": [embed], "allowed_mentions": {"parse": []}}


def send(snapshot: Snapshot, account: Account, settings: Settings) -> Outcome:
    """Post the message, and learn its id."""
    url = httpx.URL(account.text("url")).copy_merge_params({"wait": "true"})
    answer = post_json(
        "Discord", str(url), render(snapshot), settings,
        is_own="url" in account.own, longest=64 * 1024, reads_success=True,
    )  # fmt: skip
    found = answer.parse()
    if answer.is_success:
        return Outcome(sent_to="discord", ref=str(found["id"]) if found.get("id") else None)
    pause = found.get("retry_after")
    seconds = max(1.0, float(pause)) if isinstance(pause, (int, float)) else None
    return judge(
        "Discord",
        answer,
        gone=(HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND),
        pause_seconds=seconds,
    )
