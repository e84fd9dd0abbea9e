"""What to do about an alert that did not arrive."""

import re
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

from sqlalchemy import Row

from watcher_server.settings import Settings

_STATUS = re.compile(r"status (\d{3})")
_GONE = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE, HTTPStatus.UNAUTHORIZED})
_NEW_WEBHOOK = "Slack no longer knows this webhook: make a new one, and set WATCHER_SLACK_WEBHOOK_URL."
_WAIT = "Slack is busy or away: nothing to do but wait."
_NETWORK = "Let the workers reach Slack: check their network, proxy and DNS."
_WORKER = "No worker has taken it yet: check on the tasks page that one is alive."


def advice(alert: Row[Any]) -> str:
    """One sentence that says what to do."""
    if alert.last_error is None:
        return _WORKER
    status = _STATUS.search(alert.last_error)
    if status is None:
        return _NETWORK
    code = int(status[1])
    if code in _GONE:
        return _NEW_WEBHOOK
    if code == HTTPStatus.TOO_MANY_REQUESTS or code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _WAIT
    return "Slack refuses it: check that WATCHER_SLACK_WEBHOOK_URL is the address of an incoming webhook."


def is_given_up(alert: Row[Any], now: datetime, settings: Settings) -> bool:
    """Whether nobody tries to deliver it any more unless asked to."""
    return bool(alert.created_at < now - timedelta(hours=settings.alert_max_age_hours))
