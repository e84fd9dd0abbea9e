"""The URL of the broker, taken apart once: for Celery, for our own connections and for the pages."""

import os
import re
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

SCHEMES = ("redis", "rediss", "redis+socket", "sentinel", "sentinels")
_NOT_A_URL = "is not a URL; a password with special characters must be percent-encoded"
_PORTS = {"sentinel": 26379, "sentinels": 26379}
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_OF_TLS = frozenset({*_FILES, "ssl_cert_reqs"})
_OF_SENTINEL = frozenset({"master_name", "sentinel_username", "sentinel_password"})
_OF_ALL = frozenset({"prefix", "db", "virtual_host", "username", "password"})
# `*`, `?` and `[` would be patterns where Celery subscribes to channels and where a user's rights name keys.
_PREFIX = re.compile(r"[A-Za-z0-9_.:-]{1,50}")
_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.%]+)\]|(?P<name>[^\[\]:,]*))(?::(?P<port>[0-9]{1,5}))?")


@dataclass(frozen=True)
class BrokerUrl:
    """A broker: its servers, or the Sentinels that know the primary, or the socket at ``path``.

    ``master_name`` is what the Sentinels call the primary, and None without them. ``prefix`` begins every key and every
    channel. ``tls`` is None without TLS, and has else the files for it, by redis-py's names.
    """

    scheme: str
    hosts: tuple[tuple[str, int], ...]
    path: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    database: int = 0
    prefix: str = ""
    master_name: str | None = None
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    tls: dict[str, str] | None = None

    @property
    def place(self) -> str:
        """Where it is, without user and password."""
        where = self.path or ",".join(f"{bracketed(host)}:{port}" for host, port in self.hosts)
        master = "" if self.master_name is None else f", master {self.master_name}"
        prefix = f", prefix {self.prefix}" if self.prefix else ""
        return f"{self.scheme}://{where}{master}, database {self.database}{prefix}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """The passwords."""
        return tuple(secret for secret in (self.password, self.sentinel_password) if secret)


def bracketed(host: str) -> str:
    """The host as it stands in a URL."""
    return f"[{host}]" if ":" in host else host


def parse_broker_url(url: str) -> BrokerUrl:
    """Take the URL apart; raises ValueError if Watcher cannot use it. The message quotes no password."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in SCHEMES:
        listed = ", ".join(f"{known}://" for known in SCHEMES[:-1])
        # What stands before the first colon of something else could be a part of a password.
        found = f"not {scheme}://" if separator and re.fullmatch(r"[a-z+]{1,20}", scheme) else "and is no such URL"
        raise ValueError(f"must start with {listed} or {SCHEMES[-1]}://, {found}")
    place, _, raw_query = rest.partition("?")
    if "@" in raw_query or "#" in rest:
        raise ValueError(_NOT_A_URL)
    query = _read_query(scheme, raw_query)
    prefix = query.get("prefix", "")
    if prefix and not _PREFIX.fullmatch(prefix):
        raise ValueError("has a prefix that cannot be: up to 50 letters, digits, dots, colons, hyphens and underscores")
    where = _read_socket(place) if scheme == "redis+socket" else _read_servers(scheme, place)
    return BrokerUrl(
        scheme=scheme,
        hosts=where.hosts,
        path=where.path,
        username=where.username or query.get("username"),
        password=where.password or query.get("password"),
        database=_read_database(query.get("virtual_host") or query.get("db") or where.database),
        prefix=prefix,
        tls=_read_tls(query) if scheme in {"rediss", "sentinels"} else None,
        **{name: query.get(name) for name in _OF_SENTINEL},
    )


class _Where(NamedTuple):
    """What stands before the options."""

    username: str | None
    password: str | None
    hosts: tuple[tuple[str, int], ...]
    path: str | None
    database: str


def _read_socket(place: str) -> _Where:
    # The path may have an @, too.
    login, slash, path = place.partition("/")
    if not path or (login and not login.endswith("@")):
        raise ValueError("names no socket: write redis+socket:///path/of/the.sock")
    return _Where(*_read_login(login.removesuffix("@")), hosts=(), path=unquote(slash + path), database="")


def _read_servers(scheme: str, place: str) -> _Where:
    authority, _, database = place.partition("/")
    login, _, listed = authority.rpartition("@")
    # A password with an unescaped character would end somewhere else.
    if "@" in login or "@" in database:
        raise ValueError(_NOT_A_URL)
    hosts = _read_hosts(scheme, listed)
    return _Where(*_read_login(login), hosts=hosts, path=None, database=unquote(database))


def _read_query(scheme: str, raw: str) -> dict[str, str]:
    query = dict(parse_qsl(raw))
    known = {
        *_OF_ALL,
        *(_OF_SENTINEL if scheme.startswith("sentinel") else ()),
        *(_OF_TLS if scheme in {"rediss", "sentinels"} else ()),
    }
    for name in query:
        if name in _OF_TLS and name not in known:
            encrypted = "sentinels" if scheme == "sentinel" else "rediss"
            raise ValueError(f"has {name}, and {scheme}:// is not encrypted: write {encrypted}://")
        if name not in known:
            known_text = f"known are {', '.join(sorted(known))}"
            shown = name if re.fullmatch(r"[A-Za-z0-9_-]{1,40}", name) else "an option"
            raise ValueError(f"has {shown}, which means nothing with {scheme}://: leave it out; {known_text}")
    if scheme.startswith("sentinel") and not query.get("master_name"):
        raise ValueError(
            "does not say which primary the Sentinels are asked for: add ?master_name=NAME, as in their configuration"
        )
    return query


def _read_login(login: str) -> tuple[str | None, str | None]:
    username, _, password = login.partition(":")
    if ":" in password:
        raise ValueError(_NOT_A_URL)
    return unquote(username) or None, unquote(password) or None


def _read_hosts(scheme: str, listed: str) -> tuple[tuple[str, int], ...]:
    hosts = []
    for one in listed.split(","):
        match = _HOST.fullmatch(one)
        port = int(match["port"]) if match and match["port"] else _PORTS.get(scheme, 6379)
        if match is None or not 0 < port < 2**16:
            raise ValueError(_NOT_A_URL)
        hosts.append((match["v6"] or unquote(match["name"] or "") or "127.0.0.1", port))
    if len(hosts) > 1 and not scheme.startswith("sentinel"):
        raise ValueError(
            f"has several hosts, which {scheme}:// cannot have: name the Sentinels of the broker with sentinel://, or "
            "one server; a Redis Cluster cannot be the broker"
        )
    return tuple(hosts)


def _read_database(text: str) -> int:
    number = text.strip("/")
    if number and not re.fullmatch(r"[0-9]{1,5}", number):
        raise ValueError("must end with the number of a database, as in /0, or with nothing")
    return int(number or 0)


def _read_tls(query: dict[str, str]) -> dict[str, str]:
    if query.get("ssl_cert_reqs", "required").lower().removeprefix("cert_") != "required":
        raise ValueError(
            "switches the check of the broker's certificate off (ssl_cert_reqs): leave that out, and name the file of "
            "the authority that signed it with ssl_ca_certs, or the certificate itself if it signed itself"
        )
    files = {name: query[name] for name in _FILES if query.get(name)}
    for name, path in files.items():
        if not os.access(path, os.R_OK) or os.path.isdir(path):  # noqa: PTH112 - no other use of the path
            raise ValueError(f"names a file that cannot be read as {name}: {path}")
    return files
