"""Hiding secrets in logs and traces, also in messages that libraries write."""

import os
import re
from collections.abc import Iterator
from functools import cache
from urllib.parse import quote, unquote, urlsplit

from watcher_server.kit.broker_url import parse_broker_url
from watcher_server.kit.libpq import libpq_parameters
from watcher_server.settings import Settings, SettingsError, get_settings, split_keys

_HIDDEN = "***"

# scheme://user:password@host. A search begins only where the letters of a scheme do, and never looks at them twice:
# what looks like a very long scheme would otherwise be read again from each of its dots.
_IN_A_URL = re.compile(r"((?<![\w+.-])(?>[\w+.-]*?\b[A-Za-z])[\w+.-]*+://[^\s/:@\"']*+:)[^\s/@\"']++(?=@)")
# password=…, 'password': '…', and the like: connection strings, query strings, keyword arguments.
_NAMED = re.compile(
    r"(\b\w*(?:password|passwd|secret|api_?key)[\"']?\s*[=:]\s*)(?:b?\"[^\"]*\"|b?'[^']*'|[^\s,;&\"')\]}]+)",
    re.IGNORECASE,
)
_BEARER = re.compile(r"(\bBearer\s+)[\w.~+/=-]{8,}", re.IGNORECASE)
# A token of ours as `watcher token create` makes it.
_TOKEN = re.compile(r"\bwatcher_[\w-]{43}\b")
# The secret of a ping URL: the UUID of a pipeline, or a key.
_PING = re.compile(r"(/ping/)[\w-]{20,100}")

# Without one of these, in small letters, the pattern is in no message.
_WORDS = {
    _IN_A_URL: ("://",),
    _NAMED: ("password", "passwd", "secret", "apikey", "api_key"),
    _BEARER: ("bearer",),
    _PING: ("/ping/",),
}


def redact(message: str) -> str:
    """The message without passwords, tokens, ping URLs and the Slack webhook."""
    known = _known_pattern()
    if known is not None:
        message = known.sub(_HIDDEN, message)
    # Nearly every line has none of the words, and to look for a word is much cheaper than for a pattern.
    folded = message.casefold()
    for pattern, words in _WORDS.items():
        if any(word in folded for word in words):
            message = pattern.sub(rf"\g<1>{_HIDDEN}", message)
    return _TOKEN.sub(_HIDDEN, message) if "watcher_" in message else message


@cache
def _known_pattern() -> re.Pattern[str] | None:
    try:
        settings = get_settings()
    except SettingsError:
        # The process is about to end with a sentence that names the setting and not its value.
        return None
    plain = {secret.strip() for secret in _known_secrets(settings)}
    secrets = plain | {unquote(secret) for secret in plain} | {quote(unquote(secret), safe="") for secret in plain}
    # A shorter password may be a common word; the patterns above still hide it where it stands as a password. The
    # longest comes first, so that a webhook is replaced as a whole and not only its path.
    known = sorted((secret for secret in secrets if len(secret) >= 6), key=len, reverse=True)  # noqa: PLR2004
    if not known:
        return None
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, known))})(?!\w)")


def _known_secrets(settings: Settings) -> Iterator[str]:
    for url in filter(None, (settings.database_url, settings.database_direct_url)):
        given = libpq_parameters(url.get_secret_value())
        # A password that is also the user's or the database's name would hide that name everywhere.
        told = {given.get("user"), given.get("dbname"), given.get("host")}
        yield from (given[name] for name in given.keys() & {"password", "sslpassword"} if given[name] not in told)
    if settings.broker_url is not None:
        broker = parse_broker_url(settings.broker_url.get_secret_value())
        names = {broker.username, broker.master_name, *(host for host, _ in broker.hosts)}
        yield from (secret for secret in broker.secrets if secret not in names)
    for secret_url in (settings.slack_webhook_url, settings.heartbeat_url):
        if secret_url is not None:
            yield secret_url.get_secret_value()
            yield urlsplit(secret_url.get_secret_value()).path.lstrip("/")
    yield from split_keys(settings.secret_key)
    yield os.environ.get("LOGFIRE_TOKEN", "")
    # Credentials for the collector of traces.
    for name in ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"):
        for header in os.environ.get(name, "").split(","):
            yield header.partition("=")[2]
