"""``watcher worker`` and ``watcher beat``: Celery's own with Watcher's settings."""

import os
import sys
import warnings
from typing import Any

import redis
from celery import Celery
from celery.exceptions import SecurityWarning
from celery.utils.log import mlevel
from celery.utils.nodenames import host_format

from watcher_server.cli.checks import log_level, require_database, require_migrations
from watcher_server.cli.errors import CommandError
from watcher_server.embedded.running import settings_beside_up
from watcher_server.settings import Settings
from watcher_server.tasking.sending.broker_check import away_text, require_broker
from watcher_server.tasking.wire import QUEUES
from watcher_server.tasking.workers.starting import refuse_unfit_server
from watcher_server.telemetry.logs import say

_MOST_PROCESSES = 256


def run_worker(*, concurrency: int | None, autoscale: str | None, queues: str, with_beat: bool = False) -> None:
    """Run tasks until a signal comes; the first one lets running tasks finish.

    ``with_beat`` has a thread of the worker send the scheduled tasks.

    Raises:
        CommandError: the database cannot be reached, or lacks tables of this version; or autoscale is not MAX,MIN.
        SettingsError: no database or no broker is configured.
    """
    pool = _pool_arguments(concurrency, autoscale)
    settings = settings_beside_up()
    # A worker without a database would take tasks and fail them.
    require_database(settings.database, settings.direct_url)
    require_migrations(settings.direct_database)
    app, options = _celery(settings)
    worker = app.Worker(
        # Celery's default name is that of the machine, which two workers on it would share.
        hostname=host_format(f"watcher-{os.getpid()}@%h"),
        queues=queues,
        with_beat=with_beat,
        # The workers of Watcher tell each other nothing: with it, each would read all that the others say to monitors.
        without_gossip=True,
        **pool or {"concurrency": settings.worker_processes},
        **options,
    )
    worker.start()
    sys.exit(worker.exitcode)


def run_configured_worker() -> None:
    """As :func:`run_worker`, with the pool of the settings, for every queue, and with beat."""
    run_worker(concurrency=None, autoscale=None, queues=",".join(QUEUES), with_beat=True)


def _pool_arguments(concurrency: int | None, autoscale: str | None) -> dict[str, Any]:
    """What the command line says about the size of the pool; empty when it says nothing."""
    if autoscale is None:
        return {} if concurrency is None else {"concurrency": concurrency}
    if concurrency is not None:
        raise CommandError("--concurrency and --autoscale are two ways to say how many tasks run at once: use one.")
    largest, comma, smallest = (part.strip() for part in autoscale.partition(","))
    if not comma or not all(number.isascii() and number.isdigit() for number in (largest, smallest)):
        raise CommandError(f"--autoscale takes two numbers, MAX,MIN, as in --autoscale 8,2, not {autoscale!r}.")
    if not 1 <= int(smallest) <= int(largest) <= _MOST_PROCESSES:
        raise CommandError(
            f"--autoscale takes MAX,MIN with MIN from 1 to MAX and MAX up to {_MOST_PROCESSES}, not {autoscale!r}."
        )
    return {"autoscale": (int(largest), int(smallest))}


def run_beat() -> None:
    """Send the scheduled tasks until a signal comes; the task history says what was sent when.

    Raises:
        SettingsError: no database or no broker is configured.
    """
    settings = settings_beside_up()
    refuse_unfit_server()
    app, options = _celery(settings)
    app.Beat(**options).run()


def _celery(settings: Settings) -> tuple[Celery, dict[str, Any]]:
    """Celery's application, and what its worker and beat are told both.

    Its command line would start them the same way, but imports an interactive shell.
    """
    try:
        require_broker(settings.broker)
    except (redis.RedisError, OSError) as error:
        # One that is there and cannot be used ends the process.
        say(f"The broker cannot be reached ({away_text(error)}): waiting for it, trying again.", settings)
    # PLC0415: importing it reads the settings, which are complete only now.
    from watcher_server.celery_app import app

    # The warning is about unpickling messages as root. Watcher's messages are JSON only.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    level = log_level(settings)
    # Celery's banner is text on stdout. Where the log is JSON, or only warnings, it is left out.
    return app, {"loglevel": mlevel(level), "quiet": level not in {"DEBUG", "INFO"} or settings.log_format != "text"}
