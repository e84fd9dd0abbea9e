"""Slack's blocks: https://docs.slack.dev/reference/block-kit/blocks."""

from typing import Any

from watcher_server.alerts.channels.snapshot import Snapshot, shorten
from watcher_server.alerts.service import SYMBOLS

# A header takes 150 characters and a section 3,000. All blocks together take about 13,000 (msg_blocks_too_long).
_LONGEST_HEADER = 150
_LONGEST_SECTION = 2_900


def escape(text: str) -> str:
    """The text for Slack, which reads these three as mark-up: a name could mention a channel or disguise a link."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def render_blocks(snapshot: Snapshot) -> list[dict[str, Any]]:
    """A header, the message, its details, and a button to its page: some 6,000 characters at most."""
    heading = shorten(f"{SYMBOLS[snapshot.level]} {snapshot.title}", _LONGEST_HEADER)
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": heading, "emoji": True}},
        _section(snapshot.message),
    ]
    if snapshot.details:
        blocks.append(_section("\n".join(f"• {label}: {value}" for label, value in snapshot.details)))
    if snapshot.link:
        button = {"type": "button", "text": {"type": "plain_text", "text": "Open in Watcher"}, "url": snapshot.link}
        blocks.append({"type": "actions", "elements": [button]})
    return blocks


def _section(text: str) -> dict[str, Any]:
    # Plain text is shown as it is, so that nothing in a name is read as mark-up.
    return {"type": "section", "text": {"type": "plain_text", "text": shorten(text, _LONGEST_SECTION), "emoji": False}}
