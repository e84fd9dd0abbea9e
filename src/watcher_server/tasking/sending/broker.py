"""Connections to the broker beside Celery's: to ask whether it answers and what waits in it."""

from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

_OPTIONS: dict[str, Any] = {"db": 0, "socket_timeout": 2.0, "socket_connect_timeout": 2.0}


def _redis_url(broker_url: str) -> str:
    """The broker's URL in the words of redis-py.

    Celery writes a Unix socket as ``redis+socket:///path?virtual_host=0``, and ``required`` as ``CERT_REQUIRED``.
    """
    parts = urlsplit(broker_url)
    query = dict(parse_qsl(parts.query))
    names = ("password", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
    known = {name: query[name] for name in names if name in query}
    if database := query.get("virtual_host") or query.get("db"):
        known["db"] = database.strip("/")
    if parts.scheme == "rediss":
        known["ssl_cert_reqs"] = query.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    if parts.scheme == "redis+socket":
        return f"unix://{parts.netloc}{parts.path}?{urlencode(known)}"
    return f"{parts.scheme}://{parts.netloc or '127.0.0.1:6379'}{parts.path}?{urlencode(known)}"


def redis_client(broker_url: str) -> "redis.Redis":
    """A client of the broker that gives up after two seconds; close it, or use it as a context manager."""
    return redis.Redis.from_url(_redis_url(broker_url), retry=Retry(NoBackoff(), 0), **_OPTIONS)


def async_redis_client(broker_url: str) -> "redis.asyncio.Redis":
    """As :func:`redis_client`, for the api."""
    return redis.asyncio.Redis.from_url(_redis_url(broker_url), retry=AsyncRetry(NoBackoff(), 0), **_OPTIONS)
