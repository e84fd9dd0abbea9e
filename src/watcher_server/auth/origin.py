"""Which site made a browser send a request, so that no other site's page can use the login.

A browser adds ``Sec-Fetch-Site`` and ``Origin`` by itself and lets no page forge them (Fetch Metadata Request Headers,
W3C; RFC 6454). A program sends neither.
"""

from urllib.parse import urlsplit

from watcher_server.auth.credentials import Headers


def is_same_origin(headers: Headers) -> bool:
    """Whether a browser says that one of our own pages made it send this."""
    site = headers.get(b"sec-fetch-site")
    return site == b"same-origin" if site is not None else _origin_is_host(headers) is True


def is_foreign(headers: Headers) -> bool:
    """Whether a browser says that a page of another site made it send this."""
    site = headers.get(b"sec-fetch-site")
    # "none" is what a person types or bookmarks.
    return site not in {b"same-origin", b"none"} if site is not None else _origin_is_host(headers) is False


def _origin_is_host(headers: Headers) -> bool | None:
    """Whether the origin is where the request goes; None when it names none."""
    origin = headers.get(b"origin")
    if origin is None:
        return None
    try:
        return urlsplit(origin).netloc == headers.get(b"host")
    except ValueError:
        return False
