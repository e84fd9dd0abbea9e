"""What of a value may be kept: secrets are masked by the name of their field, and by what they look like."""

import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic_core import to_jsonable_python

from watcher_server.telemetry.redaction import redact

HIDDEN = "***"
_SECRET_NAME = re.compile(
    r"password|passwd|secret|token|credential|authorization|webhook|ping_u|(?:api|access|private|routing|signing)_?key",
    re.IGNORECASE,
)
# A larger value is cut: an entry says what changed, and is no copy of the object.
_MOST_CHARACTERS = 4_000

Fields = Mapping[str, Any]


def differences(before: Fields | None, after: Fields | None) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """The fields that differ, as JSON and masked; a field that is only in one of both is null in the other.

    What is created has no ``before``, and of it the fields that are set are kept; what is removed likewise.
    """
    if before is None or after is None:
        return _kept(before), _kept(after)
    old, new = _json(before), _json(after)
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return {name: mask(name, old.get(name)) for name in names}, {name: mask(name, new.get(name)) for name in names}


def _kept(fields: Fields | None) -> dict[str, Any] | None:
    if fields is None:
        return None
    return {name: mask(name, value) for name, value in _json(fields).items() if value is not None}


def _json(fields: Fields) -> dict[str, Any]:
    found: dict[str, Any] = to_jsonable_python(dict(fields), fallback=str)
    return found


def mask(name: str, value: Any) -> Any:
    """The value of a field, without secrets, and cut where it is long."""
    shown = _mask(name, value)
    written = shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False)
    if len(written) <= _MOST_CHARACTERS:
        return shown
    return f"{written[:_MOST_CHARACTERS]}… ({len(written):,} characters)"


def _mask(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        # These say where a secret is, or that it is stored: a channel's specification has them in place of one.
        is_place = set(value) in ({"stored"}, {"env"}, {"file"})
        return {key: _mask("" if is_place else key, each) for key, each in value.items()}
    if isinstance(value, list):
        return [_mask(name, each) for each in value]
    if value is None or isinstance(value, bool):
        return value
    if _SECRET_NAME.search(name):
        return HIDDEN
    return redact(value) if isinstance(value, str) else value
