"""A fingerprint of a request body, for telling a changed configuration from one sent again."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def fingerprint(body: Mapping[str, Any]) -> str:
    """SHA-256, in hexadecimal, of the body as canonical JSON.

    The same body gives the same 64 characters in every process, on every machine and under every Python version;
    the order of keys does not count.
    """
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
