"""``watcher status``: what runs, and how far behind it is."""

from dataclasses import dataclass

import psycopg
import redis
from rich.console import Console
from rich.table import Table

from watcher_server.cli.environment import settings_beside_up
from watcher_server.cli.errors import CommandError
from watcher_server.cli.readiness import ask_readiness, base_url
from watcher_server.queueing.broker import redis_client
from watcher_server.settings import Settings

_QUEUES = ("celery", "scheduled")


@dataclass(frozen=True)
class Finding:
    """One line of the table; ``good`` is None for a mere number."""

    name: str
    text: str
    good: bool | None = None


def show_status() -> None:
    """Print the table.

    Raises:
        CommandError: nothing runs.
    """
    settings = settings_beside_up()
    findings = [_api(settings)]
    findings += _database(settings)
    findings += _broker(settings)
    if not any(finding.good for finding in findings):
        raise CommandError(
            f"Nothing runs at {base_url(settings)} or on {settings.home}: start Watcher with `watcher up`."
        )
    table = Table("", "", show_header=False)
    for finding in findings:
        colour = {True: "green", False: "red", None: "default"}[finding.good]
        table.add_row(finding.name, f"[{colour}]{finding.text}[/]")
    Console().print(table)


def _api(settings: Settings) -> Finding:
    readiness = ask_readiness(settings)
    if readiness is None:
        return Finding("API", f"{base_url(settings)} does not answer", good=False)
    return Finding("API", f"{base_url(settings)} {readiness.text}", good=readiness.ready)


def _database(settings: Settings) -> list[Finding]:
    if settings.database_url is None:
        return [Finding("Database", "none runs, none is configured", good=False)]
    try:
        with psycopg.connect(settings.database, connect_timeout=5) as connection:
            row = connection.execute("SELECT count(*) FROM outbox").fetchone()
    except psycopg.errors.UndefinedTable:
        return [Finding("Database", "has no tables yet: run `watcher migrate`", good=False)]
    except psycopg.Error as error:
        return [Finding("Database", f"cannot be reached: {_first_line(error)}", good=False)]
    backlog = row[0] if row else 0
    return [
        Finding("Database", "answers", good=True),
        Finding("Tasks not yet published (outbox)", f"{backlog:,}"),
    ]


def _broker(settings: Settings) -> list[Finding]:
    if settings.broker_url is None:
        return [Finding("Broker", "none runs, none is configured", good=False)]
    try:
        with redis_client(settings.broker) as client:
            lengths = [Finding(f"Waiting in queue {queue}", f"{client.llen(queue):,}") for queue in _QUEUES]
    except (redis.RedisError, OSError) as error:
        return [Finding("Broker", f"cannot be reached: {_first_line(error)}", good=False)]
    return [Finding("Broker", "answers", good=True), *lengths, _workers()]


def _workers() -> Finding:
    # PLC0415: it reads the settings when it is imported, and they are complete only now.
    from watcher_server.celery_app import app  # noqa: PLC0415

    answers = app.control.inspect(timeout=1.0).ping() or {}
    names = ", ".join(sorted(answers)) or "none answers: start one with `watcher worker`"
    return Finding("Workers", names, good=bool(answers))


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
