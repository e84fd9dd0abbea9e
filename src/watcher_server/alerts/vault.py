"""The secrets of channels that were entered over HTTP, encrypted in the database.

Fernet (AES-128-CBC with HMAC-SHA256) of `cryptography`, under a key that is derived from each of WATCHER_SECRET_KEY.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from watcher_server.settings import Settings, split_keys


class VaultError(Exception):
    """Secrets cannot be written or read; the message says what to do."""


def encrypt(secrets: Mapping[str, Any], settings: Settings) -> bytes:
    """The secrets by their names, encrypted with the first key. Raises VaultError: there is no key."""
    return _fernet(settings).encrypt(json.dumps(dict(secrets)).encode())


def decrypt(encrypted: bytes, settings: Settings) -> dict[str, Any]:
    """What :func:`encrypt` was given. Raises VaultError: none of the keys is the one that encrypted it."""
    try:
        secrets: dict[str, Any] = json.loads(_fernet(settings).decrypt(encrypted))
    except InvalidToken:
        raise VaultError("WATCHER_SECRET_KEY is not the key that its secrets were encrypted with") from None
    return secrets


def _fernet(settings: Settings) -> MultiFernet:
    keys = split_keys(settings.secret_key)
    if not keys:
        raise VaultError("WATCHER_SECRET_KEY is not set in this process: secrets cannot be kept without it")
    # A key is long and random already, so a slow derivation would add nothing.
    digests = [hashlib.sha256(key.encode()).digest() for key in keys]
    return MultiFernet([Fernet(base64.urlsafe_b64encode(digest)) for digest in digests])
