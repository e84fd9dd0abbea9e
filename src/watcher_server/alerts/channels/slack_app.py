"""A Slack app: what is said later of an incident stands in the thread of its first message, which tells its end.

Plain HTTP does all of it, so slack_sdk is not needed.
"""

from typing import Any

from watcher_server.alerts.channels.account import Account
from watcher_server.alerts.channels.asking import FailedTryError, judge, post_json
from watcher_server.alerts.channels.blocks import escape, render_blocks
from watcher_server.alerts.channels.snapshot import Parent, Snapshot
from watcher_server.alerts.outcome import Outcome
from watcher_server.settings import Settings

_API = "https://slack.com/api"

# https://docs.slack.dev/reference/methods/chat.postMessage#errors. The first are about the app, its channel or its
# workspace, the second about the message; those that pass are tried again.
_GONE_WORDS = frozenset({
    "access_denied", "account_inactive", "as_user_not_supported", "channel_not_found", "invalid_auth", "is_archived",
    "is_inactive", "missing_scope", "no_permission", "not_allowed_token_type", "not_authed", "not_in_channel",
    "org_login_required", "restricted_action", "team_access_not_granted", "team_not_found", "token_expired",
    "token_revoked",
})  # fmt: skip
_MESSAGE_WORDS = frozenset({
    "invalid_arguments", "invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "msg_too_long", "no_text",
    "too_many_attachments",
})  # fmt: skip
_BUSY_WORDS = frozenset({"rate_limited", "ratelimited", "message_limit_exceeded"})
_KNOWN_WORDS = _GONE_WORDS | _MESSAGE_WORDS | _BUSY_WORDS
_KNOWN_WORDS |= {"fatal_error", "internal_error", "request_timeout", "service_unavailable"}


def render(snapshot: Snapshot) -> dict[str, Any]:
    """The message with blocks, in the thread that it belongs to."""
    thread = {"thread_ts": snapshot.thread} if snapshot.thread else {}
    return {"text": escape(snapshot.text), "blocks": render_blocks(snapshot), "unfurl_links": False, **thread}


def send(snapshot: Snapshot, account: Account, settings: Settings) -> Outcome:
    """Post the message, and mark the one that it belongs under where that changes how it stands."""
    found = _call("chat.postMessage", render(snapshot), account, settings)
    if isinstance(found, Outcome):
        return found
    # Without its parent Slack posts a reply by itself, and says so only here.
    message = found.get("message")
    thread = message.get("thread_ts") if isinstance(message, dict) else None
    is_reply = snapshot.thread is not None and thread == snapshot.thread
    ref = snapshot.thread if is_reply else str(found.get("ts", "")) or None
    notes = [] if is_reply or snapshot.thread is None else ["The message that it belongs under is gone from Slack"]
    if snapshot.change in {"resolved", "reopened"}:
        notes += [note for parent in snapshot.parents if (note := _mark(parent, account, settings))]
    return Outcome(sent_to="slack", ref=ref, error="; ".join(dict.fromkeys(notes)) or None)


def _mark(parent: Parent, account: Account, settings: Settings) -> str | None:
    """Say in the first message whether it is over; why that did not work, which is no failure of the new message."""
    first, _, rest = parent.text.partition("\n")
    text = f"✅ RESOLVED\n~{first}~\n{rest}" if parent.is_over else parent.text
    # A text replaces blocks only when blocks are given.
    block = {"type": "section", "text": {"type": "plain_text", "text": text[:2_900], "emoji": False}}
    payload = {"ts": parent.ref, "text": escape(text), "blocks": [block]}
    try:
        found = _call("chat.update", payload, account, settings)
    except FailedTryError as error:
        return error.outcome.error
    return found.error if isinstance(found, Outcome) else None


def _call(method: str, payload: dict[str, Any], account: Account, settings: Settings) -> dict[str, Any] | Outcome:
    """What Slack answered when it did what was asked; else what came of it."""
    token = f"Bearer {account.text('token')}"
    headers = {"Authorization": token, "Content-Type": "application/json; charset=utf-8"}
    answer = post_json(
        "Slack", f"{_API}/{method}", {"channel": account.text("channel"), **payload}, settings,
        is_own=True, headers=headers, longest=256 * 1024, reads_success=True,
    )  # fmt: skip
    found = answer.parse()
    if answer.is_success and found.get("ok") is True:
        return found
    said = found.get("error")
    word = said if isinstance(said, str) and said in _KNOWN_WORDS else None
    # Slack says in the body of a 200 that it refused.
    if not answer.is_success:
        return judge("Slack", answer, word)
    error = f"Slack refused it ({word})" if word else "Slack refused it"
    if word in _BUSY_WORDS:
        return Outcome(error=error, pause_seconds=30.0)
    return Outcome(error=error, gone=word in _GONE_WORDS, refused=word in _MESSAGE_WORDS)
