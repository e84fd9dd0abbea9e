"""``WATCHER_PUBLIC_URL``: where people reach Watcher, and the path that it has there."""

import re
from urllib.parse import urlsplit


def root_of(public_url: str | None) -> str:
    """The path of the URL without a slash at its end: ``/watcher``, or nothing where Watcher has the host to itself."""
    return urlsplit(public_url or "").path.rstrip("/")


def within(root: str, path: str) -> str:
    """The path inside Watcher, for one that may begin with the root."""
    is_under = root != "" and (path == root or path.startswith(f"{root}/"))
    return path.removeprefix(root) or "/" if is_under else path


def check_public_url(public_url: str | None) -> str | None:
    """The URL, if its path can stand before every link; raises ValueError if it cannot."""
    if not re.fullmatch(r"(/[\w.~-]+)*", root_of(public_url), flags=re.ASCII):
        raise ValueError("has a path with other characters than letters, digits and . _ ~ -: give Watcher a plain one")
    return public_url
