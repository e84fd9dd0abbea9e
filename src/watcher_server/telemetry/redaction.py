"""Keeping secrets out of logs and traces, whoever wrote the message that quotes one."""

import os
import re
from collections.abc import Iterator
from functools import cache
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from pydantic import SecretStr

from watcher_server.settings import Settings, SettingsError, get_settings

_HIDDEN = "***"

# scheme://user:password@host, in any message: also of URLs that no setting of ours holds.
_IN_A_URL = re.compile(r"(\b[A-Za-z][\w+.-]*://[^\s/:@\"']*:)[^\s/@\"']+(?=@)")
# password=…, 'password': '…', and the like: connection strings, query strings, keyword arguments.
_NAMED = re.compile(
    r"(\b\w*(?:password|passwd|secret|api_?key)[\"']?\s*[=:]\s*)(?:b?\"[^\"]*\"|b?'[^']*'|[^\s,;&\"')\]}]+)",
    re.IGNORECASE,
)
_BEARER = re.compile(r"(\bBearer\s+)[\w.~+/=-]{8,}", re.IGNORECASE)
# A token of ours as `watcher token create` makes it.
_TOKEN = re.compile(r"\bwatcher_[\w-]{43}\b")

# A shorter password is a word that occurs by itself; where it is quoted as a password, the patterns find it.
_SHORTEST_KNOWN = 6
# What the exporter of traces shows to whom it sends them.
_HEADERS = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")


def redact(message: str) -> str:
    """The message without passwords, tokens and the Slack webhook."""
    known = _known_pattern()
    if known is not None:
        message = known.sub(_HIDDEN, message)
    for pattern in (_IN_A_URL, _NAMED, _BEARER):
        message = pattern.sub(rf"\g<1>{_HIDDEN}", message)
    return _TOKEN.sub(_HIDDEN, message)


@cache
def _known_pattern() -> re.Pattern[str] | None:
    try:
        settings = get_settings()
    except SettingsError:
        # The command is about to end with a sentence that names the setting and not its value.
        return None
    secrets = {spelling for secret in _known_secrets(settings) for spelling in _spellings(secret)}
    # The longest first: of a webhook and its path, the whole is to be replaced.
    known = sorted((secret for secret in secrets if len(secret) >= _SHORTEST_KNOWN), key=len, reverse=True)
    if not known:
        return None
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, known))})(?!\w)")


def _known_secrets(settings: Settings) -> Iterator[str]:
    for url in (settings.database_url, settings.broker_url):
        yield from _passwords(url)
    if settings.slack_webhook_url is not None:
        webhook = settings.slack_webhook_url.get_secret_value()
        yield webhook
        yield urlsplit(webhook).path.lstrip("/")
    yield os.environ.get("LOGFIRE_TOKEN", "")
    for name in _HEADERS:
        for header in os.environ.get(name, "").split(","):
            yield header.partition("=")[2]


def _passwords(url: SecretStr | None) -> Iterator[str]:
    if url is None:
        return
    parts = urlsplit(url.get_secret_value())
    # Whoever chose the user's name for a password, or the database's, keeps no secret that a log could tell.
    told = {parts.username, parts.hostname, parts.path.strip("/")}
    passwords = [parts.password, *(value for name, value in parse_qsl(parts.query) if "password" in name)]
    yield from (password for password in passwords if password and password not in told)


def _spellings(secret: str) -> set[str]:
    secret = secret.strip()
    return {secret, unquote(secret), quote(unquote(secret), safe="")}
