"""Sending an alert to a channel, by the module of the channel's type, and what came of it."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from watcher_server.alerts.channels import (
    alertmanager,
    apprise_urls,
    discord,
    mail,
    pagerduty,
    slack_app,
    slack_webhook,
    teams,
    webhook,
)
from watcher_server.alerts.channels.account import Account, UnknownSecretError, open_account
from watcher_server.alerts.channels.asking import FailedTryError
from watcher_server.alerts.channels.snapshot import Snapshot
from watcher_server.alerts.config.schemas import DEFAULT
from watcher_server.alerts.outcome import Outcome
from watcher_server.settings import Settings

logger = logging.getLogger(__name__)
# Without a webhook alerts go to the log, whatever level is set for the rest of it.
logger.setLevel(logging.WARNING)

Send = Callable[[Snapshot, Account, Settings], Outcome]


class ChannelRow(NamedTuple):
    """A channel as the database has it."""

    name: str
    type: str
    spec: Mapping[str, Any]
    secrets: bytes | None

    def open(self, settings: Settings) -> Account:
        """The channel with its secrets. Raises UnknownSecretError: this process cannot read one of them."""
        return open_account(self.name, self.type, self.spec, self.secrets, settings)


def _send_by_settings(snapshot: Snapshot, _: Account, settings: Settings) -> Outcome:
    """Send the text to Slack, or to the log where no webhook is set."""
    if settings.slack_webhook_url is None:
        logger.warning("%s", snapshot.text)
        return Outcome(sent_to="log")
    return slack_webhook.post_text(settings.slack_webhook_url.get_secret_value(), snapshot.text, settings)


def _send_to_slack(snapshot: Snapshot, account: Account, settings: Settings) -> Outcome:
    if account.text("url"):
        return slack_webhook.send(snapshot, account, settings)
    return slack_app.send(snapshot, account, settings)


SENDERS: Mapping[str, Send] = {
    DEFAULT: _send_by_settings,
    "slack": _send_to_slack,
    "teams": teams.send,
    "discord": discord.send,
    "email": mail.send,
    "pagerduty": pagerduty.send,
    "webhook": webhook.send,
    "alertmanager": alertmanager.send,
    "apprise": apprise_urls.send,
}


def send(channel: ChannelRow, snapshot: Snapshot, settings: Settings) -> Outcome:
    """Send an alert; what came of it. It raises nothing."""
    try:
        return SENDERS[channel.type](snapshot, channel.open(settings), settings)
    except FailedTryError as error:
        return error.outcome
    except UnknownSecretError as error:
        return Outcome(error=str(error))
    except Exception as error:  # noqa: BLE001 - a message that cannot be sent keeps no other from being sent
        # Its text may hold the address of the webhook.
        return Outcome(error=f"It could not be sent ({type(error).__name__})", perhaps_sent=True, refused=True)
