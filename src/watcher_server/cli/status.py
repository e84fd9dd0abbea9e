"""``watcher status``: what runs, and how far behind it is."""

from dataclasses import dataclass

from rich.table import Table
from rich.text import Text
from sqlalchemy import NullPool, create_engine
from sqlalchemy.exc import SQLAlchemyError

from watcher_server.cli.checks import require_database, require_migrations
from watcher_server.cli.environment import find_api_url, settings_beside_up
from watcher_server.cli.errors import CommandError
from watcher_server.cli.program import typeable
from watcher_server.cli.readiness import ask_readiness
from watcher_server.cli.terminal import console
from watcher_server.database.engine import sqlalchemy_url
from watcher_server.kit.errors import UnavailableError
from watcher_server.queueing.monitor import count_active_workers, count_outbox, read_queue_depths
from watcher_server.settings import Settings


@dataclass(frozen=True)
class Finding:
    """One line of the table; ``good`` is None for a mere number."""

    name: str
    text: str
    good: bool | None = None


def show_status() -> bool:
    """Print the table; whether every line of it is good.

    Raises:
        CommandError: nothing runs.
    """
    settings = settings_beside_up()
    url = find_api_url(settings)
    findings = [_api(url), *_database(settings), *_broker(settings)]
    if not any(finding.good for finding in findings):
        raise CommandError(f"Nothing runs at {url} or on {settings.home}: start Watcher with `watcher up`.")
    _print(findings)
    return not any(finding.good is False for finding in findings)


def _print(findings: list[Finding]) -> None:
    table = Table("", "", show_header=False)
    for finding in findings:
        colour = {True: "green", False: "red", None: "default"}[finding.good]
        # Text, because a plain string is read as markup, and this one quotes what others wrote.
        table.add_row(finding.name, Text(typeable(finding.text), style=colour))
    console().print(table)


def _api(url: str) -> Finding:
    readiness = ask_readiness(url)
    if readiness is None:
        return Finding("API", f"{url} does not answer", good=False)
    return Finding("API", f"{url} {readiness.text}", good=readiness.ready)


def _database(settings: Settings) -> list[Finding]:
    if settings.database_url is None:
        return [Finding("Database", "none runs, none is configured", good=False)]
    try:
        require_database(settings.database)
        require_migrations(settings.database)
        with create_engine(sqlalchemy_url(settings.database), poolclass=NullPool).connect() as connection:
            backlog = count_outbox(connection)
    except (CommandError, SQLAlchemyError) as error:
        return [Finding("Database", _first_line(error), good=False)]
    return [
        Finding("Database", "answers", good=True),
        Finding("Tasks not yet published (outbox)", f"{backlog:,}"),
    ]


def _broker(settings: Settings) -> list[Finding]:
    if settings.broker_url is None:
        return [Finding("Broker", "none runs, none is configured", good=False)]
    try:
        depths = read_queue_depths(settings.broker)
    except UnavailableError as error:
        return [Finding("Broker", str(error), good=False)]
    waiting = [Finding(f"Waiting in queue {queue}", f"{depth:,}") for queue, depth in depths.ready.items()]
    return [Finding("Broker", "answers", good=True), *waiting, _workers(settings)]


def _workers(settings: Settings) -> Finding:
    active = count_active_workers(settings)
    if active == 0:
        return Finding("Workers", "none answers: start one with `watcher worker`", good=False)
    return Finding("Workers", f"{active} answer{'s' if active == 1 else ''}", good=True)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
