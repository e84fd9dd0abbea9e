"""Where a request comes from, and whether straight from a program or a person on this machine.

A page on the internet can point its own name at 127.0.0.1 (DNS rebinding): the Host header gives it away. A proxy on
this machine hands on requests of strangers: its headers give it away, or HTTP/1.0, which nginx long spoke by default.
"""

import ipaddress
import re
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.types import Scope

from watcher_server.auth.credentials import Headers
from watcher_server.settings import Settings


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


_HOST_HEADER = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^\[\]:]+))(?::\d*)?")


# Bounded, because callers choose what is asked.
@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on ``host``."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    # A socket that listens on IPv6 and IPv4 at once shows 127.0.0.1 as ::ffff:127.0.0.1.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


@lru_cache(maxsize=256)
def host_name(header: bytes) -> str:
    """The name or address in a Host header, lower case and without its port; empty when the header is malformed."""
    match = _HOST_HEADER.fullmatch(header.decode("latin-1").lower())
    return match[1] or match[2] if match else ""


def network_of(address: str) -> str:
    """What one customer has: an IPv4 address, also when it is written as IPv6, or a /64 network of IPv6.

    A trusted proxy may name anything as the address of a client; it is returned as it can stand in a log.
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return ascii(address[:60])
    if isinstance(ip, ipaddress.IPv6Address):
        return str(ip.ipv4_mapped or ipaddress.ip_network((int(ip), 64), strict=False))
    return str(ip)


def is_from_this_machine(scope: Scope) -> bool:
    """Whether the connection has a loopback address at both ends. A Unix socket has none: it is there for a proxy."""
    # The addresses of the socket, because a server that is started by hand listens elsewhere than the setting says.
    server, client = scope.get("server"), scope.get("client")
    return server is not None and client is not None and is_loopback(server[0]) and is_loopback(client[0])


def came_through_proxy(scope: Scope, headers: Headers) -> bool:
    """Whether a proxy handed on the request."""
    if scope.get("http_version") == "1.0":
        return True
    for name in headers:  # noqa: SIM110 - as a generator it takes twice the time, in every request
        if name.startswith((b"x-forwarded", b"forwarded", b"x-real-ip", b"via")):
            return True
    return False


def names_this_machine(headers: Headers) -> bool:
    """Whether the Host header says localhost or a loopback address."""
    return is_loopback(host_name(headers.get(b"host", b"")))


def names_allowed_host(headers: Headers, settings: Settings) -> bool:
    """Whether the Host header says what WATCHER_ALLOWED_HOSTS lists, localhost or a loopback address."""
    return host_name(headers.get(b"host", b"")) in settings.allowed_host_names or names_this_machine(headers)
