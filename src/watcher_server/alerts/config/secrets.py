"""The secrets of a channel: which stand in its specification, and which are kept apart."""

from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from watcher_server.alerts.config.channel_types import GivenChannel
from watcher_server.alerts.config.fields import Shape, StoredSecret
from watcher_server.alerts.vault import VaultError, decrypt, encrypt
from watcher_server.kit.errors import InvalidFieldError
from watcher_server.settings import Settings

_STORED = {"stored": True}
# Where a channel sends its secrets, and how.
_PLACE = ("type", "host", "port", "security", "url")


def dump(shape: Shape) -> dict[str, Any]:
    """An object as it is stored, and as the file has it: what was given, in its normal form."""
    return shape.model_dump(mode="json", by_alias=True, exclude_unset=True)


def dump_channel(channel: GivenChannel) -> tuple[dict[str, Any], dict[str, Any]]:
    """A channel as it is stored, and the secrets that it was given in plain, by the names of their fields.

    Raises:
        InvalidFieldError: of several secrets in one field some are plain and some are not.
    """
    spec, secrets = dump(channel), {}
    for name in channel.model_fields_set:
        value = getattr(channel, name)
        plain = [each.get_secret_value() for each in _listed(value) if isinstance(each, SecretStr)]
        if plain and len(plain) < len(_listed(value)):
            raise InvalidFieldError(name, "must hold either secrets themselves, or only where they are")
        if plain:
            secrets[name] = plain if isinstance(value, list) else plain[0]
            spec[name] = _STORED
    return spec, secrets


def has_plain_secrets(channel: GivenChannel) -> bool:
    """Whether a secret stands in it as such."""
    values = [getattr(channel, name) for name in channel.model_fields_set]
    return any(isinstance(each, SecretStr) for value in values for each in _listed(value))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def check_place(before: Mapping[str, Any], spec: Mapping[str, Any], plain: Mapping[str, Any]) -> None:
    """Raise where a stored secret would be sent elsewhere than it was given for, to somebody who only changes where to.

    Raises:
        InvalidFieldError: it has to be given again.
    """
    kept = [name for name, value in spec.items() if value == _STORED and name not in {*plain, "signing_keys"}]
    if kept and any(name in plain or before.get(name) != spec.get(name) for name in _PLACE):
        raise InvalidFieldError(kept[0], "is stored for another place than this: give it again")


def keep_secrets(
    channel: GivenChannel, plain: Mapping[str, Any], stored: bytes | None, settings: Settings
) -> bytes | None:
    """The encrypted secrets of a channel: those that are new, and the stored ones that it goes on with.

    Raises:
        InvalidFieldError: it goes on with one that is not stored, or nothing can be encrypted or decrypted here.
    """
    kept = [name for name in channel.model_fields_set if isinstance(getattr(channel, name), StoredSecret)]
    if not kept and not plain:
        return None
    try:
        known = decrypt(stored, settings) if stored and kept else {}
        missing = [name for name in kept if name not in known]
        if missing:
            raise InvalidFieldError(missing[0], "is not stored for this channel: give it again")
        if not plain and stored and set(known) == set(kept):
            return stored
        return encrypt({**{name: known[name] for name in kept}, **plain}, settings)
    except VaultError as error:
        field = next(iter(plain), None) or kept[0]
        raise InvalidFieldError(
            field, f"cannot be kept: {error}; or name it as {{env: NAME}} or {{file: PATH}}"
        ) from None
