"""Hiding secrets in logs and traces, also in messages that libraries write."""

import os
import re
from collections.abc import Iterator
from functools import cache
from urllib.parse import quote, unquote, urlsplit

from pydantic import SecretStr

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


def redact(message: str) -> str:
    """The message without passwords, tokens, ping URLs and the Slack webhook."""
    known = _known_pattern()
    if known is not None:
        message = known.sub(_HIDDEN, message)
    for pattern in (_IN_A_URL, _NAMED, _BEARER, _PING):
        message = pattern.sub(rf"\g<1>{_HIDDEN}", message)
    return _TOKEN.sub(_HIDDEN, message)


@cache
def _known_pattern() -> re.Pattern[str] | None:
    try:
        settings = get_settings()
    except SettingsError:
        # The process is about to end with a sentence that names the setting and not its value.
        return None
    secrets = {spelling for secret in _known_secrets(settings) for spelling in _spellings(secret)}
    # A shorter password may be a common word; the patterns above still hide it where it stands as a password. The
    # longest comes first, so that a webhook is replaced as a whole and not only its path.
    known = sorted((secret for secret in secrets if len(secret) >= 6), key=len, reverse=True)  # noqa: PLR2004
    if not known:
        return None
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, known))})(?!\w)")


def _known_secrets(settings: Settings) -> Iterator[str]:
    for url in (settings.database_url, settings.database_direct_url):
        yield from _database_passwords(url)
    if settings.broker_url is not None:
        broker = parse_broker_url(settings.broker_url.get_secret_value())
        # A password that is also a name would hide that name everywhere.
        told = {broker.username, broker.master_name, *(host for host, _ in broker.hosts)}
        yield from (secret for secret in broker.secrets if secret not in told)
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


def _database_passwords(url: SecretStr | None) -> Iterator[str]:
    given = {} if url is None else libpq_parameters(url.get_secret_value())
    # A password that is also the user's or the database's name would hide that name everywhere.
    told = {given.get("user"), given.get("dbname"), given.get("host")}
    yield from (given[name] for name in given.keys() & {"password", "sslpassword"} if given[name] not in told)


def _spellings(secret: str) -> set[str]:
    secret = secret.strip()
    return {secret, unquote(secret), quote(unquote(secret), safe="")}
