"""Posting to a Slack webhook, and what its answer means. The webhook's URL is the secret."""

from collections.abc import Collection
from http import HTTPStatus
from typing import Any

from watcher_server.alerts.channels.account import Account
from watcher_server.alerts.channels.asking import GONE, judge, post_json
from watcher_server.alerts.channels.blocks import escape, render_blocks
from watcher_server.alerts.channels.snapshot import Snapshot
from watcher_server.alerts.outcome import Outcome
from watcher_server.settings import Settings

# What Slack says in the body of a refusal (https://api.slack.com/changelog/2016-05-17-changes-to-errors-for-incoming-
# webhooks and https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks). The first are about the
# webhook, its channel or its workspace, the second about the message.
_GONE_WORDS = frozenset({
    "action_prohibited", "channel_is_archived", "channel_not_found", "invalid_token", "no_active_hooks", "no_service",
    "no_service_id", "no_team", "posting_to_general_channel_denied", "team_disabled", "user_not_found",
})  # fmt: skip
_MESSAGE_WORDS = frozenset({
    "invalid_blocks", "invalid_payload", "missing_text_or_fallback_or_attachments", "msg_blocks_too_long",
    "msg_too_long", "no_text", "too_many_attachments",
})  # fmt: skip
_KNOWN_WORDS = _GONE_WORDS | _MESSAGE_WORDS
_KNOWN_WORDS |= {"rate_limited", "ratelimited", "rollup_error", "service_unavailable"}


def send(snapshot: Snapshot, account: Account, settings: Settings) -> Outcome:
    """Post the message with blocks."""
    payload = {"text": escape(snapshot.text), "blocks": render_blocks(snapshot)}
    return _post(account.text("url"), payload, settings, is_own="url" in account.own)


def post_text(url: str, text: str, settings: Settings) -> Outcome:
    """Post a text alone to the operator's own webhook."""
    return _post(url, {"text": escape(text)}, settings, is_own=True)


def _post(url: str, payload: dict[str, Any], settings: Settings, *, is_own: bool) -> Outcome:
    answer = post_json("Slack", url, payload, settings, is_own=is_own)
    if answer.is_success:
        return Outcome(sent_to="slack")
    said = answer.body.decode("ascii", "replace").strip()
    word = said if said in _KNOWN_WORDS else None
    gone: Collection[int] = GONE
    if word in _GONE_WORDS and answer.status < HTTPStatus.INTERNAL_SERVER_ERROR:
        gone = [answer.status]
    elif word in _MESSAGE_WORDS:
        gone = []
    return judge("Slack", answer, word, gone=gone)
