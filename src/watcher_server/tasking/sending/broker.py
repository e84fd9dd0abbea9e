"""Connections to the broker: Celery's, and those beside it that ask whether it answers and what waits in it."""

from typing import Any
from urllib.parse import quote

import redis
import redis.asyncio
import redis.asyncio.sentinel
import redis.sentinel
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from watcher_server.kit.broker_url import BrokerUrl, bracketed, parse_broker_url

_TIMES: dict[str, Any] = {"socket_timeout": 2.0, "socket_connect_timeout": 2.0}
# The Sentinels are asked one after the other, and the first may be on a machine that is gone. Two of three that are
# silent must not use up the two seconds.
_SENTINEL_TIMES: dict[str, Any] = {"socket_timeout": 1.0, "socket_connect_timeout": 0.5}


def key_prefix(broker_url: str) -> str:
    """What every key of this broker begins with; Celery puts it there by itself."""
    return parse_broker_url(broker_url).prefix


def redis_client(broker_url: str) -> "redis.Redis":
    """A client of the broker that gives up after two seconds; close it, or use it as a context manager."""
    broker = parse_broker_url(broker_url)
    retry = Retry(NoBackoff(), 0)
    options = {**_options(broker), "retry": retry}
    if broker.master_name is None:
        return redis.Redis(**_address(broker), **options)
    asked = {**_sentinel_options(broker), "retry": retry}
    sentinel: Any = redis.sentinel.Sentinel(broker.hosts, sentinel_kwargs=asked, **options)  # type: ignore[no-untyped-call]
    client: redis.Redis = sentinel.master_for(broker.master_name, connection_pool_class=_Primary)
    return client


def async_redis_client(broker_url: str) -> "redis.asyncio.Redis":
    """As :func:`redis_client`, for the api."""
    broker = parse_broker_url(broker_url)
    retry = AsyncRetry(NoBackoff(), 0)
    options = {**_options(broker), "retry": retry}
    if broker.master_name is None:
        return redis.asyncio.Redis(**_address(broker), **options)
    asked = {**_sentinel_options(broker), "retry": retry}
    sentinel: Any = redis.asyncio.sentinel.Sentinel(  # type: ignore[no-untyped-call]
        broker.hosts, sentinel_kwargs=asked, **options
    )
    client: redis.asyncio.Redis = sentinel.master_for(broker.master_name, connection_pool_class=_AsyncPrimary)
    return client


def sentinel_clients(broker: BrokerUrl) -> "list[redis.Redis]":
    """A client of each Sentinel."""
    options = {**_sentinel_options(broker), "retry": Retry(NoBackoff(), 0)}
    return [redis.Redis(host=host, port=port, **options) for host, port in broker.hosts]


class _Primary(redis.sentinel.SentinelConnectionPool):
    """Connections to the primary. With them those to the Sentinels are closed, which redis-py leaves open."""

    def disconnect(self, inuse_connections: bool = True) -> None:  # noqa: FBT002 - redis-py's signature
        super().disconnect(inuse_connections)
        # Without those in use it only leaves an old primary.
        if inuse_connections:
            self.sentinel_manager.close()


class _AsyncPrimary(redis.asyncio.sentinel.SentinelConnectionPool):
    async def disconnect(self, inuse_connections: bool = True) -> None:  # noqa: FBT002 - redis-py's signature
        await super().disconnect(inuse_connections)
        if inuse_connections:
            await self.sentinel_manager.aclose()


def _address(broker: BrokerUrl) -> dict[str, Any]:
    if broker.path is not None:
        return {"unix_socket_path": broker.path}
    host, port = broker.hosts[0]
    return {"host": host, "port": port}


def _options(broker: BrokerUrl) -> dict[str, Any]:
    login = {"username": broker.username, "password": broker.password}
    return {"db": broker.database, **login, **_TIMES, **_encrypted(broker)}


def _sentinel_options(broker: BrokerUrl) -> dict[str, Any]:
    login = {"username": broker.sentinel_username, "password": broker.sentinel_password}
    return {**login, **_SENTINEL_TIMES, **_encrypted(broker)}


def _encrypted(broker: BrokerUrl) -> dict[str, Any]:
    return {} if broker.tls is None else {"ssl": True, **_tls_options(broker.tls)}


def _tls_options(files: dict[str, str]) -> dict[str, Any]:
    """The same rule for every connection: an authority that is known has signed the certificate for this name."""
    return {"ssl_cert_reqs": "required", "ssl_check_hostname": True, **files}


def celery_broker(broker_url: str) -> dict[str, Any]:
    """The broker in the words of Celery: its URL, what it is encrypted by, and the options that are the broker's own.

    kombu takes one URL per Sentinel. It reads user, password and database anew from the one that it tries next.
    It does not verify the certificate of ``rediss://`` unless it is told to.
    """
    broker = parse_broker_url(broker_url)
    options: dict[str, Any] = {"global_keyprefix": broker.prefix} if broker.prefix else {}
    if broker.master_name is not None:
        asked = {**_sentinel_options(broker), "retry": Retry(NoBackoff(), 0)}
        options |= {"master_name": broker.master_name, "sentinel_kwargs": asked}
    return {
        "broker_url": _celery_url(broker),
        "broker_use_ssl": False if broker.tls is None else _tls_options(broker.tls),
        "broker_transport_options": options,
    }


def _celery_url(broker: BrokerUrl) -> str:
    login = ""
    if broker.username or broker.password:
        login = f"{quote(broker.username or '', safe='')}:{quote(broker.password or '', safe='')}@"
    if broker.path is not None:
        return f"redis+socket://{login}{quote(broker.path)}?virtual_host={broker.database}"
    scheme = broker.scheme if broker.master_name is None else "sentinel"
    return ";".join(f"{scheme}://{login}{bracketed(host)}:{port}/{broker.database}" for host, port in broker.hosts)
