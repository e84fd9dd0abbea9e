"""What the broker says of itself."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import redis
import redis.asyncio

from watcher_server.queueing.broker import async_redis_client


@dataclass(frozen=True)
class BrokerFacts:
    """The broker, as it answered.

    ``memory_limit`` is 0 where there is none, sizes are in bytes. ``policy`` is what it does once its memory is full.
    ``saves`` says whether it writes to disk at all, None where that is kept from us, ``save_failed`` that the last
    time went wrong. ``keys`` are those of
    our logical database. ``told`` is false when it keeps all but its answer from this login.
    """

    answer_seconds: float
    told: bool = False
    product: str = "unknown"
    version: str = ""
    replica: bool = False
    memory_bytes: int = 0
    memory_limit: int = 0
    policy: str = ""
    saves: bool | None = None
    save_failed: bool = False
    clients: int = 0
    clients_most: int = 0
    keys: int = 0


async def read_broker(broker_url: str) -> BrokerFacts:
    """Ask the broker; its client gives up after two seconds without an answer.

    Raises:
        redis.RedisError: it does not answer.
        OSError: it cannot be reached.
    """
    client = async_redis_client(broker_url)
    try:
        await client.ping()
        began = time.perf_counter()
        await client.ping()
        answer_seconds = time.perf_counter() - began
        try:
            info, keys = await client.info(), await client.dbsize()
        except redis.exceptions.NoPermissionError:
            return BrokerFacts(answer_seconds)
        saves = bool(info.get("aof_enabled")) or await _takes_snapshots(client)
    finally:
        await client.aclose()
    return _facts(answer_seconds, info, keys, saves=saves)


async def _takes_snapshots(client: "redis.asyncio.Redis") -> bool | None:
    try:
        return bool((await client.config_get("save")).get("save"))
    except redis.exceptions.ResponseError:
        # Hosted ones keep their configuration to themselves.
        return None


def _facts(answer_seconds: float, info: Mapping[str, Any], keys: int, *, saves: bool | None) -> BrokerFacts:
    is_valkey = "valkey_version" in info
    return BrokerFacts(
        answer_seconds=answer_seconds,
        told=True,
        product="Valkey" if is_valkey else "Redis",
        version=str(info.get("valkey_version") or info.get("redis_version") or ""),
        replica=info.get("role") in {"slave", "replica"},
        memory_bytes=int(info.get("used_memory", 0)),
        memory_limit=int(info.get("maxmemory", 0)),
        policy=str(info.get("maxmemory_policy", "")),
        saves=saves,
        save_failed="err" in {info.get("rdb_last_bgsave_status"), info.get("aof_last_write_status")},
        clients=int(info.get("connected_clients", 0)),
        clients_most=int(info.get("maxclients", 0)),
        keys=keys,
    )
