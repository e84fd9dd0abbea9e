"""``watcher worker`` and ``watcher beat``: Celery's own programs with Watcher's settings."""

import sys
import warnings

import redis
from celery.exceptions import SecurityWarning

from watcher_server.cli.checks import require_database, require_migrations
from watcher_server.cli.environment import settings_beside_up
from watcher_server.cli.errors import CommandError
from watcher_server.cli.levels import log_level
from watcher_server.queueing.broker import redis_client
from watcher_server.settings import Settings


def run_worker(*, concurrency: int | None, queues: str) -> None:
    """Run tasks until a signal comes; the first one lets running tasks finish.

    Raises:
        CommandError: the database cannot be reached, or lacks tables of this version.
        SettingsError: no database or no broker is configured.
    """
    settings = settings_beside_up()
    # A worker without a database would take tasks only to fail them.
    require_database(settings.database)
    require_migrations(settings.database)
    arguments = ["worker", "--loglevel", log_level(settings), "--queues", queues]
    arguments += ["--concurrency", str(concurrency or settings.worker_processes)]
    _run_celery(settings, arguments)


def run_beat() -> None:
    """Send the scheduled tasks until a signal comes; what was sent when is kept in WATCHER_HOME.

    Raises:
        CommandError: the folder cannot be written.
        SettingsError: no broker is configured.
    """
    settings = settings_beside_up()
    folder = settings.home.expanduser() / "beat"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(
            f"The folder {folder} cannot be created ({error.strerror}): set WATCHER_HOME to one you may write to."
        ) from error
    arguments = ["beat", "--loglevel", log_level(settings), "--schedule", str(folder / "schedule")]
    _run_celery(settings, arguments)


def _run_celery(settings: Settings, arguments: list[str]) -> None:
    _say_when_the_broker_is_away(settings.broker)
    # PLC0415: it reads the settings when it is imported, and they are complete only now.
    from watcher_server.celery_app import app

    # Watcher's messages are JSON and nothing else: the danger this warns of is unpickling them as root.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    quiet = [] if log_level(settings) in {"DEBUG", "INFO"} else ["--quiet"]
    app.start([*quiet, *arguments])


def _say_when_the_broker_is_away(broker_url: str) -> None:
    try:
        with redis_client(broker_url) as client:
            client.ping()
    except (redis.RedisError, OSError) as error:
        reason = str(error).rstrip(".")
        sys.stderr.write(f"watcher: The broker cannot be reached ({reason}): waiting for it, trying again.\n")
