"""What runs at one moment, as ``watcher status`` finds it."""

from collections.abc import Sequence
from dataclasses import dataclass

import redis
from sqlalchemy import Connection, NullPool, create_engine
from sqlalchemy.exc import SQLAlchemyError

from watcher_server.cli.checks import require_database, require_migrations
from watcher_server.cli.environment import find_api_url
from watcher_server.cli.errors import CommandError
from watcher_server.cli.readiness import ask_readiness
from watcher_server.database.engine import sqlalchemy_url
from watcher_server.queue_monitor.depths import QueueState, measure_queues
from watcher_server.queueing.broker import redis_client
from watcher_server.rate_limits.service import TaskLimit, list_limits
from watcher_server.settings import Settings
from watcher_server.workers.service import KnownWorker, WorkerState, list_workers


@dataclass(frozen=True)
class Service:
    """Something that has to run, and a sentence on whether it does."""

    name: str
    text: str
    is_good: bool


@dataclass(frozen=True)
class Work:
    """What the database knows of the tasks; ``state`` is None while no broker is configured."""

    workers: Sequence[KnownWorker]
    state: QueueState | None
    limits: Sequence[TaskLimit]


@dataclass(frozen=True)
class Snapshot:
    """What was found; ``work`` is None when the database could not be asked."""

    services: Sequence[Service]
    work: Work | None

    @property
    def anything_runs(self) -> bool:
        """Whether there is anything to show at all."""
        return any(service.is_good for service in self.services)

    @property
    def is_good(self) -> bool:
        """Whether everything runs as it should."""
        return all(service.is_good for service in self.services)


def take_snapshot(settings: Settings) -> Snapshot:
    """Ask the api, the database and the broker; each a few seconds at most."""
    api = _ask_api(settings)
    database, work = _ask_database(settings)
    services = [api, database, _ask_broker(settings, work)]
    if work is not None:
        services.append(_count_workers(work.workers))
    return Snapshot(services, work)


def _ask_api(settings: Settings) -> Service:
    url = find_api_url(settings)
    readiness = ask_readiness(url)
    if readiness is None:
        return Service("API", f"{url} does not answer", is_good=False)
    return Service("API", f"{url} {readiness.text}", is_good=readiness.ready)


def _ask_database(settings: Settings) -> tuple[Service, Work | None]:
    if settings.database_url is None:
        return Service("Database", "none runs, none is configured", is_good=False), None
    try:
        require_database(settings.database)
        require_migrations(settings.database)
        with create_engine(sqlalchemy_url(settings.database), poolclass=NullPool).connect() as connection:
            work = _read_work(connection, settings)
    except (CommandError, SQLAlchemyError) as error:
        return Service("Database", _first_line(error), is_good=False), None
    return Service("Database", "answers", is_good=True), work


def _read_work(connection: Connection, settings: Settings) -> Work:
    return Work(
        workers=list_workers(connection),
        state=None if settings.broker_url is None else measure_queues(connection, settings),
        limits=list_limits(connection, settings),
    )


def _ask_broker(settings: Settings, work: Work | None) -> Service:
    if settings.broker_url is None:
        return Service("Broker", "none runs, none is configured", is_good=False)
    state = None if work is None else work.state
    error = _ping(settings.broker) if state is None else state.broker_error
    return Service("Broker", error or "answers", is_good=error is None)


def _ping(broker_url: str) -> str | None:
    """What is wrong with the broker."""
    try:
        with redis_client(broker_url) as client:
            client.ping()
    except (redis.RedisError, OSError):
        return "The broker does not answer: start it, or correct WATCHER_BROKER_URL."
    return None


def _count_workers(workers: Sequence[KnownWorker]) -> Service:
    alive = [worker for worker in workers if worker.state is WorkerState.ALIVE]
    if not alive:
        return Service("Workers", "none is alive: start one with `watcher worker`", is_good=False)
    processes = sum(worker.processes for worker in alive)
    active = sum(worker.active for worker in alive)
    return Service("Workers", f"{len(alive)} alive, {active} of {processes} processes busy", is_good=True)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
