"""Asking the broker directly, beside Celery: is it there, and how much waits in it."""

from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

_TIMEOUT_SECONDS = 2.0


def _options(broker_url: str) -> dict[str, Any]:
    """What redis-py needs to connect where Celery does.

    Celery writes a Unix socket as ``redis+socket:///path?virtual_host=0``, which redis-py does not know.
    """
    parts = urlsplit(broker_url)
    query = dict(parse_qsl(parts.query))
    timeouts = {"socket_timeout": _TIMEOUT_SECONDS, "socket_connect_timeout": _TIMEOUT_SECONDS}
    database = query.get("virtual_host") or query.get("db") or ""
    login = {"username": _decoded(parts.username), "password": _decoded(parts.password)}
    if parts.scheme == "redis+socket":
        return {
            "unix_socket_path": unquote(parts.path),
            "db": int(database.strip("/") or 0),
            **login,
            "password": login["password"] or query.get("password"),
            **timeouts,
        }
    tls = {"ssl": True, **_tls_options(query)} if parts.scheme == "rediss" else {}
    database = database or unquote(parts.path)
    address = {"host": parts.hostname or "127.0.0.1", "port": parts.port or 6379}
    return {**address, "db": int(database.strip("/") or 0), **login, **timeouts, **tls}


def _decoded(value: str | None) -> str | None:
    return unquote(value) if value else None


def _tls_options(query: dict[str, str]) -> dict[str, str]:
    names = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
    options = {name: query[name] for name in names if name in query}
    # Celery spells it CERT_REQUIRED, redis-py required.
    requirement = query.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    return {**options, "ssl_cert_reqs": requirement}


def redis_client(broker_url: str) -> "redis.Redis":
    """A client of the broker that gives up after two seconds; close it, or use it as a context manager."""
    return redis.Redis(retry=Retry(NoBackoff(), 0), **_options(broker_url))


def async_redis_client(broker_url: str) -> "redis.asyncio.Redis":
    """As :func:`redis_client`, for the api."""
    return redis.asyncio.Redis(retry=AsyncRetry(NoBackoff(), 0), **_options(broker_url))
