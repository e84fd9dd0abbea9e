"""Events as they may be shown: without the secrets that producers leave in them."""

import re
from typing import Any

from watcher_server.openlineage.envelope import hide_user
from watcher_server.telemetry.redaction import redact

HIDDEN = "***"
# Names of settings, of environment variables and of fields whose values people need not see.
_SECRET = re.compile(r"passw|secret|token|api_?key|credential|authorization|private_?key|access_?key", re.IGNORECASE)


def mask(value: Any) -> Any:
    """The same value with each secret in it replaced: in its texts, and whole under a name that says it is one."""
    if isinstance(value, str):
        return redact(hide_user(value))
    if isinstance(value, list):
        return [mask(part) for part in value]
    if isinstance(value, dict):
        # The environment variables of a run are objects with a name and a value.
        named = value.get("name") or value.get("key")
        is_secret = isinstance(named, str) and _SECRET.search(named) is not None
        return {
            name: HIDDEN if part and (_is_secret(name, part) or (is_secret and name == "value")) else mask(part)
            for name, part in value.items()
        }
    return value


def _is_secret(name: str, value: Any) -> bool:
    return isinstance(value, str | int) and _SECRET.search(name) is not None
