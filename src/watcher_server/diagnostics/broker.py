"""The broker: what it says of itself, and the checks of it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import redis
import redis.asyncio

from watcher_server.diagnostics.checks import Check, Verdict, act_if, judge_from, milliseconds_text, percent_text
from watcher_server.kit.sizes import size_text
from watcher_server.tasking.sending.broker import async_redis_client, key_prefix


@dataclass(frozen=True)
class BrokerFacts:
    """The broker, as it answered.

    ``info`` has what INFO says, None if this login may not ask. ``keys`` are those of Watcher's logical database, None
    if a prefix shares it with other programs.
    ``saves`` says whether it writes to disk at all, None if this login may not see that.
    """

    answer_seconds: float
    info: Mapping[str, Any] | None = None
    keys: int | None = 0
    saves: bool | None = None

    @property
    def product(self) -> tuple[str, str]:
        """Its name and version."""
        if self.info is None:
            return "Broker", "unknown"
        if "valkey_version" in self.info:
            return "Valkey", str(self.info["valkey_version"])
        return "Redis", str(self.info.get("redis_version") or "unknown")


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
            info = await client.info()
            keys = None if key_prefix(broker_url) else await client.dbsize()
        except redis.exceptions.NoPermissionError:
            return BrokerFacts(answer_seconds)
        return BrokerFacts(answer_seconds, info, keys, bool(info.get("aof_enabled")) or await _takes_snapshots(client))
    finally:
        await client.aclose()


async def _takes_snapshots(client: "redis.asyncio.Redis") -> bool | None:
    try:
        return bool((await client.config_get("save")).get("save"))
    except redis.exceptions.ResponseError:
        # Hosted brokers do not show their configuration.
        return None


def judge_broker(broker: BrokerFacts) -> list[Check]:
    """The checks of a broker that answers."""
    product = "" if broker.info is None else f"{' '.join(broker.product)}, "
    answers = Check(
        "Answers",
        f"{product}in {milliseconds_text(broker.answer_seconds)}",
        "below 50 ms",
        judge_from(broker.answer_seconds, 0.05, 1),
        "Have it near the api, and look at the load of its machine.",
    )
    if broker.info is not None:
        return [answers, *_judge_info(broker, broker.info)]
    untold = Check(
        "What it says of itself",
        "kept from this login",
        "memory, policy, persistence, clients and keys",
        Verdict.UNKNOWN,
        "Let the login of WATCHER_BROKER_URL ask for it, if you want it here; nothing else depends on it.",
        ["ACL SETUSER NAME +info +dbsize"],
    )
    return [answers, untold]


def _judge_info(broker: BrokerFacts, info: Mapping[str, Any]) -> list[Check]:
    is_replica = info.get("role") in {"slave", "replica"}
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    of_limit = f" of {size_text(limit)}, {percent_text(used / limit)}" if limit else ", no limit"
    policy = info.get("maxmemory_policy")
    kept = {True: "on disk", False: "in memory only", None: "unknown"}[broker.saves]
    save_failed = "err" in {info.get("rdb_last_bgsave_status"), info.get("aof_last_write_status")}
    clients, clients_most = int(info.get("connected_clients", 0)), int(info.get("maxclients", 0))
    checks = [
        Check(
            "Can be written",
            "no, it is a replica" if is_replica else "yes",
            "yes",
            act_if(is_replica),
            "Point WATCHER_BROKER_URL at the primary.",
        ),
        Check(
            "Memory",
            f"{size_text(used)}{of_limit}",
            "below 75 % of maxmemory",
            judge_from(used / limit if limit else 0.0, 0.75, 0.9),
            "Raise maxmemory, or find what else is in it: once it is full, tasks wait in the database.",
            ["CONFIG SET maxmemory 1gb"],
        ),
        Check(
            "When its memory is full",
            policy or "unknown",
            "noeviction: every other policy throws tasks away",
            Verdict.OK if policy == "noeviction" else Verdict.ACT if limit else Verdict.LOOK,
            "Forbid it to throw anything away, in its configuration file as well.",
            ["CONFIG SET maxmemory-policy noeviction"],
        ),
        Check(
            "Persistence",
            f"{kept}, and the last save failed" if save_failed else kept,
            "either: what it loses is sent again within a minute",
            act_if(save_failed),
            "Look at its log and its disk: by default it refuses what is written after a save that failed.",
        ),
        Check(
            "Clients",
            f"{clients:,} of {clients_most:,}" if clients_most else f"{clients:,}",
            "below 80 % of maxclients",
            judge_from(clients / clients_most if clients_most else 0.0, 0.8, 0.95),
            "Raise maxclients, or find who connects so often: CLIENT LIST names them.",
            ["CLIENT LIST"],
        ),
    ]
    if broker.keys is None:
        return checks
    keys = Check(
        "Keys",
        f"{broker.keys:,}",
        # Watcher has a few keys for each queue, rate limit and worker.
        "below 10,000, with the database of the broker to itself",
        judge_from(broker.keys, 10_000),
        "Give Watcher a database of the broker of its own, by the number at the end of WATCHER_BROKER_URL.",
    )
    return [*checks, keys]
