"""Which address a name that somebody entered may lead to.

Without this a channel could have Watcher ask what only its own network may reach, such as the metadata of its machine.
The name is resolved once, and the address that was judged is the one that is dialled: a second answer of the resolver
changes nothing.
"""

import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from watcher_server.settings import Settings, split_hosts

_Address = IPv4Address | IPv6Address

# Behind these stand addresses of IPv4, which a gateway of the network would reach.
_TRANSLATED = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"), IPv6Network("::/96"))


class ForbiddenAddressError(Exception):
    """The name leads to an address that no channel may reach; the message says so, and what allows it."""


def resolve(host: str, port: int, settings: Settings) -> str:
    """The address to dial for a host that somebody entered.

    Raises:
        ForbiddenAddressError: it leads, perhaps among others, to an address that is not public.
        OSError: there is no such host.
    """
    # What the resolver reads as an address, such as a single number, comes back from it as one.
    addresses = [str(each[4][0]) for each in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    is_allowed = host.lower().strip("[]") in split_hosts(settings.alert_private_hosts)
    if not is_allowed and not all(is_public(address) for address in addresses):
        raise ForbiddenAddressError(
            f"{host} is no public address; WATCHER_ALERT_PRIVATE_HOSTS names those that channels may reach all the same"
        )
    return addresses[0]


def is_public(address: str) -> bool:
    """Whether everybody may be asked to reach this address, in whichever of its spellings."""
    parsed: _Address = ip_address(address.partition("%")[0])
    # Python counts the networks that sites had for themselves before fc00::/7 as global.
    is_of_site = isinstance(parsed, IPv6Address) and parsed.is_site_local
    return not is_of_site and all(each.is_global and not each.is_multicast for each in (parsed, *_inner(parsed)))


def _inner(address: _Address) -> Iterable[_Address]:
    """The addresses of IPv4 that an address of IPv6 stands for."""
    if isinstance(address, IPv4Address):
        return ()
    inner: list[_Address] = [each for each in (address.ipv4_mapped, address.sixtofour) if each is not None]
    if address.teredo is not None:
        inner += address.teredo
    if any(address in network for network in _TRANSLATED):
        inner.append(IPv4Address(int(address) & 0xFFFF_FFFF))
    return inner
