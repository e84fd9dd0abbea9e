"""A person named by a header of a proxy that has asked who they are."""

import ipaddress
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import cast

from starlette.types import Scope

from watcher_server.auth.callers import Caller
from watcher_server.auth.scopes import ROLE_SCOPES
from watcher_server.auth.scopes import Scope as TokenScope
from watcher_server.settings import Settings


def scope_for(values: Iterable[str], roles: Mapping[str, str]) -> TokenScope | None:
    """The highest scope that these values of a claim or header give, by WATCHER_ROLES; None when they give none."""
    roles = roles or {role: role for role in ROLE_SCOPES}
    # "*" is everybody.
    found = [ROLE_SCOPES[roles[value]] for value in (*values, "*") if value in roles]
    return max(found, key=lambda scope: scope.rank, default=None)


def named_by_proxy(scope: Scope, settings: Settings) -> str | None:
    """The name that a trusted proxy gives the sender; None without such a header, or when it comes from elsewhere."""
    if settings.trusted_user_header is None or not _is_trusted(peer_of(scope), settings):
        return None
    names = _values(scope, settings.trusted_user_header)
    # Two would mean that the proxy has let one of its client through.
    is_one = len(names) == 1 and 1 <= len(names[0]) <= 150 and names[0].isprintable()  # noqa: PLR2004 - as of tokens
    return names[0] if is_one else None


def header_caller(name: str, scope: Scope, settings: Settings) -> Caller | None:
    """The person of that name with the role that the proxy says; None when it gives none."""
    header = settings.trusted_role_header
    lines = _values(scope, header) if header else []
    # As with the name: of two headers, one may be the client's own.
    values = [value.strip() for value in lines[0].split(",")] if len(lines) == 1 else []
    found = scope_for(values, settings.roles)
    # A number that tells this person from tokens and from other people.
    id_ = -(2**62 + int.from_bytes(sha256(name.encode()).digest()[:7]))
    return None if found is None else Caller("header", name, found, id_)


def peer_of(scope: Scope) -> str | None:
    """The address at the other end of the connection, whatever a header says; None when it cannot be known.

    Watcher's own server notes it. Another one may have put an address of ``X-Forwarded-For`` in its place.
    """
    if "watcher_peer" in scope:
        return cast("str | None", scope["watcher_peer"])
    is_forwarded = any(name == b"x-forwarded-for" for name, _ in scope["headers"])
    return None if is_forwarded or not scope.get("client") else str(scope["client"][0])


def _is_trusted(peer: str | None, settings: Settings) -> bool:
    try:
        address = ipaddress.ip_address(peer or "")
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return any((mapped or address) in network for network in settings.trusted_networks)


def _values(scope: Scope, header: str) -> list[str]:
    wanted = header.lower().encode()
    values = [value for name, value in scope["headers"] if name == wanted]
    try:
        return [value.decode().strip() for value in values]
    except UnicodeDecodeError:
        return [value.decode("latin-1").strip() for value in values]


def without_role(name: str) -> str:
    """What a person without a role is told."""
    return f"{name} has no role here: an administrator gives one by WATCHER_ROLES. Roles are viewer, editor and admin."
