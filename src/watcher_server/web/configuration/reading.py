"""The schedules and versions that the settings page shows."""

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
from watcher_server.diagnostics.broker import read_broker
from watcher_server.settings import Settings
from watcher_server.tasking.sending.configuration import celery_configuration


@dataclass(frozen=True)
class ScheduledTask:
    """A task that beat sends: its ``cron`` in UTC, and when beat sends it next (UTC)."""

    name: str
    task: str
    cron: str
    next_at: datetime


def read_schedules(settings: Settings) -> Sequence[ScheduledTask]:
    """The tasks that beat sends, the next one first."""
    now = datetime.now(UTC)
    found = []
    for name, entry in celery_configuration(settings)["beat_schedule"].items():
        schedule = entry["schedule"]
        # crontab writes itself as "<crontab: 0 * * * * (m/h/dM/MY/d)>".
        cron = repr(schedule).removeprefix("<crontab: ").partition(" (")[0]
        found.append(ScheduledTask(name, entry["task"], cron, now + schedule.remaining_estimate(now)))
    return sorted(found, key=lambda task: task.next_at)


async def read_versions(session: AsyncSession, settings: Settings) -> Sequence[tuple[str, str]]:
    """Each program that runs here, with its version."""
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
    """The broker's product and version; some hosted brokers do not tell."""
    try:
        async with asyncio.timeout(1):
            broker = await read_broker(url)
    except TimeoutError:
        return "Broker", "does not answer"
    except (redis.RedisError, OSError):
        return "Broker", "cannot be reached"
    return broker.product
