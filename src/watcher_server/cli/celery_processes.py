"""``watcher worker`` and ``watcher beat``: Celery's own programs with Watcher's settings."""

import os
import warnings

import redis
from celery.exceptions import SecurityWarning

from watcher_server.cli.checks import require_database, require_migrations
from watcher_server.cli.errors import CommandError
from watcher_server.cli.levels import log_level
from watcher_server.embedded.running import settings_beside_up
from watcher_server.settings import Settings
from watcher_server.tasking.sending.broker import redis_client
from watcher_server.tasking.workers.starting import refuse_old_server
from watcher_server.telemetry.logs import say

_MOST_PROCESSES = 256


def run_worker(*, concurrency: int | None, autoscale: str | None, queues: str) -> None:
    """Run tasks until a signal comes; the first one lets running tasks finish.

    Raises:
        CommandError: the database cannot be reached, or lacks tables of this version; or autoscale is not MAX,MIN.
        SettingsError: no database or no broker is configured.
    """
    pool = _pool_arguments(concurrency, autoscale)
    settings = settings_beside_up()
    # A worker without a database would take tasks and fail them.
    require_database(settings.database)
    require_migrations(settings.database)
    arguments = ["worker", "--loglevel", log_level(settings), "--queues", queues]
    arguments += pool or ["--concurrency", str(settings.worker_processes)]
    # Celery's default name is that of the machine, which two workers on it would share.
    arguments += ["--hostname", f"watcher-{os.getpid()}@%h"]
    _run_celery(settings, arguments)


def _pool_arguments(concurrency: int | None, autoscale: str | None) -> list[str]:
    """What the command line says about the size of the pool; empty when it says nothing."""
    if autoscale is None:
        return [] if concurrency is None else ["--concurrency", str(concurrency)]
    if concurrency is not None:
        raise CommandError("--concurrency and --autoscale are two ways to say how many tasks run at once: use one.")
    largest, comma, smallest = (part.strip() for part in autoscale.partition(","))
    if not comma or not all(number.isascii() and number.isdigit() for number in (largest, smallest)):
        raise CommandError(f"--autoscale takes two numbers, MAX,MIN, as in --autoscale 8,2, not {autoscale!r}.")
    if not 1 <= int(smallest) <= int(largest) <= _MOST_PROCESSES:
        raise CommandError(
            f"--autoscale takes MAX,MIN with MIN from 1 to MAX and MAX up to {_MOST_PROCESSES}, not {autoscale!r}."
        )
    return ["--autoscale", f"{largest},{smallest}"]


def run_beat() -> None:
    """Send the scheduled tasks until a signal comes; the task history says what was sent when.

    Raises:
        SettingsError: no database or no broker is configured.
    """
    settings = settings_beside_up()
    refuse_old_server()
    _run_celery(settings, ["beat", "--loglevel", log_level(settings)])


def _run_celery(settings: Settings, arguments: list[str]) -> None:
    _say_when_the_broker_is_away(settings)
    # PLC0415: importing it reads the settings, which are complete only now.
    from watcher_server.celery_app import app

    # The warning is about unpickling messages as root. Watcher's messages are JSON only.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    # Celery's banner is text on stdout. Where the log is JSON, or only warnings, it is left out.
    quiet = [] if log_level(settings) in {"DEBUG", "INFO"} and settings.log_format == "text" else ["--quiet"]
    app.start([*quiet, *arguments])


def _say_when_the_broker_is_away(settings: Settings) -> None:
    try:
        with redis_client(settings.broker) as client:
            client.ping()
    except (redis.RedisError, OSError) as error:
        reason = str(error).rstrip(".")
        say(f"The broker cannot be reached ({reason}): waiting for it, trying again.", settings)
