"""What the settings page shows besides the settings: schedules, rate limits, tokens, versions."""

import asyncio
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import celery
import redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server import __version__
from watcher_server.queueing.broker import async_redis_client
from watcher_server.queueing.configuration import celery_configuration
from watcher_server.rate_limits.service import limit_text, list_limits
from watcher_server.settings import Settings

_BROKER_SECONDS = 1.0


@dataclass(frozen=True)
class ScheduledTask:
    """A task that beat sends: ``cron`` in UTC, and when it is sent next (UTC)."""

    name: str
    task: str
    cron: str
    next_at: datetime


@dataclass(frozen=True)
class Limit:
    """How fast a task may start, as settings write it; ``until`` (UTC) is when the configured one holds again."""

    task: str
    configured: str
    in_force: str
    until: datetime | None


def read_schedules(settings: Settings) -> Sequence[ScheduledTask]:
    """What beat sends, the next one first."""
    now = datetime.now(UTC)
    found = []
    for name, entry in celery_configuration(settings)["beat_schedule"].items():
        schedule = entry["schedule"]
        # crontab writes itself as "<crontab: 0 * * * * (m/h/dM/MY/d)>".
        cron = repr(schedule).removeprefix("<crontab: ").partition(" (")[0]
        found.append(ScheduledTask(name, entry["task"], cron, now + schedule.remaining_estimate(now)))
    return sorted(found, key=lambda task: task.next_at)


async def read_limits(session: AsyncSession, settings: Settings) -> Sequence[Limit]:
    """How fast tasks may start now, and by configuration."""
    connection = await session.connection()
    return [
        Limit(limit.task, limit_text(limit.configured), limit_text(limit.in_force), limit.until)
        for limit in await connection.run_sync(list_limits, settings)
    ]


async def read_versions(session: AsyncSession, settings: Settings) -> Sequence[tuple[str, str]]:
    """What runs here, by name."""
    database = await session.scalar(text("SELECT current_setting('server_version')"))
    broker, version = await _ask_broker(settings.broker)
    return [
        ("Watcher", __version__),
        ("PostgreSQL", str(database)),
        (broker, version),
        ("Celery", celery.__version__),
        ("Python", platform.python_version()),
        ("System", f"{platform.system()} {platform.machine()}"),
    ]


async def _ask_broker(url: str) -> tuple[str, str]:
    """What the broker is and its version; some services do not say."""
    client = async_redis_client(url)
    try:
        async with asyncio.timeout(_BROKER_SECONDS):
            facts = await client.info("server")
    except TimeoutError:
        return "Broker", "does not answer"
    except (redis.RedisError, OSError):
        return "Broker", "cannot be reached"
    finally:
        await client.aclose()
    if "valkey_version" in facts:
        return "Valkey", str(facts["valkey_version"])
    return "Redis", str(facts.get("redis_version", "unknown"))
