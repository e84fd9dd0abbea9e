"""A channel as this process uses it: what its specification says, with its secrets read."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from watcher_server.alerts.config.fields import SYSTEM_FOLDERS
from watcher_server.alerts.vault import VaultError, decrypt
from watcher_server.settings import Settings

# A secret is no larger than this many bytes.
_LARGEST = 64 * 1024
# Who may change channels must not read with them what only the server may know.
_NOT_FOR_CHANNELS = frozenset({
    "DATABASE_URL", "REDIS_URL", "WATCHER_BROKER_URL", "WATCHER_DATABASE_URL", "WATCHER_SECRET_KEY",
})  # fmt: skip


class UnknownSecretError(Exception):
    """A secret cannot be read in this process; the message says which and why, and holds none."""


@dataclass(frozen=True)
class Account:
    """A channel and what it is reached by: ``values`` are its specification, with secrets in the place of references.

    ``own`` are the names of the values that the operator gave by the environment or by a file.
    """

    name: str
    type: str
    values: Mapping[str, Any] = field(default_factory=dict, repr=False)
    own: frozenset[str] = frozenset()

    def text(self, name: str, default: str = "") -> str:
        value = self.values.get(name)
        return default if value is None else str(value)

    def texts(self, name: str) -> list[str]:
        """A value that may be one text or several."""
        value = self.values.get(name)
        if value is None:
            return []
        return [str(each) for each in value] if isinstance(value, list) else [str(value)]


def open_account(name: str, type_: str, spec: Mapping[str, Any], secrets: bytes | None, settings: Settings) -> Account:
    """The channel with its secrets. Raises UnknownSecretError: one of them cannot be read here."""
    try:
        kept = decrypt(secrets, settings) if secrets else {}
    except VaultError as error:
        raise UnknownSecretError(str(error)) from None
    values = {key: _read(value) for key, value in spec.items()}
    own = frozenset(key for key, value in spec.items() if _is_reference(value))
    return Account(name, type_, {**values, **kept}, own)


def _is_reference(value: object) -> bool:
    return isinstance(value, dict) and len(value) == 1 and next(iter(value)) in {"env", "file"}


def _read(value: Any) -> Any:
    if isinstance(value, list):
        return [_read(each) for each in value]
    if not _is_reference(value):
        return value
    ((source, name),) = value.items()
    return _read_variable(str(name)) if source == "env" else _read_file(str(name))


def _read_variable(name: str) -> str:
    if name.upper().removesuffix("_FILE") in _NOT_FOR_CHANNELS:
        raise UnknownSecretError(f"{name} is for the server alone: give the channel a variable of its own")
    found = os.environ.get(name)
    if not found:
        raise UnknownSecretError(f"The variable {name} is not set in this process")
    return found


def _read_file(path: str) -> str:
    # A link may lead to where the system shows what this process holds.
    if Path(path).resolve().parts[1] in SYSTEM_FOLDERS:
        raise UnknownSecretError(f"The file {path} is one of the system, and holds no secret")
    try:
        with Path(path).open("rb") as file:
            content = file.read(_LARGEST + 1)
        found = content.decode().removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise UnknownSecretError(f"The file {path} cannot be read in this process ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UnknownSecretError(f"The file {path} is not text in UTF-8") from None
    if not found or len(content) > _LARGEST:
        raise UnknownSecretError(f"The file {path} is {'larger than 64 KiB' if found else 'empty'}")
    return found
