"""What ``watcher status`` finds at one moment."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import redis
from sqlalchemy import NullPool, create_engine
from sqlalchemy.exc import SQLAlchemyError

from watcher_server.alerts.broken import BrokenChannel, find_broken
from watcher_server.alerts.views import Difference, find_differences
from watcher_server.auth.service import ListedToken, find_ending_tokens
from watcher_server.cli.checks import require_database, require_migrations
from watcher_server.cli.errors import CommandError
from watcher_server.cli.readiness import ask_readiness
from watcher_server.database.engine import sqlalchemy_url
from watcher_server.embedded.running import find_api_url
from watcher_server.incidents.heartbeat import UnansweredCalls, find_unanswered_calls
from watcher_server.kit.durations import duration_text
from watcher_server.openlineage.counting import Waiting, read_waiting, stuck_text
from watcher_server.settings import Settings
from watcher_server.tasking.limits.service import TaskLimit, list_limits
from watcher_server.tasking.queues.depths import QueueState, measure_queues
from watcher_server.tasking.sending.broker import redis_client
from watcher_server.tasking.workers.service import KnownWorker, WorkerState, list_workers


@dataclass(frozen=True)
class Service:
    """A service that has to run, and a sentence on whether it does."""

    name: str
    text: str
    is_good: bool


@dataclass(frozen=True)
class Work:
    """What the database knows about tasks. ``state`` is None while no broker is configured."""

    workers: Sequence[KnownWorker]
    state: QueueState | None
    limits: Sequence[TaskLimit]
    broken: Sequence[BrokenChannel]
    differences: Sequence[Difference]
    unanswered: UnansweredCalls | None
    events: Waiting
    ending_tokens: Sequence[ListedToken]


@dataclass(frozen=True)
class Snapshot:
    """What was found. ``work`` is None if the database could not be asked."""

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
    """Ask the api, the database and the broker, each for a few seconds at most."""
    api = _ask_api(settings)
    database, work = _ask_database(settings)
    services = [api, database, _ask_broker(settings, work)]
    if work is not None:
        services += [_count_workers(work.workers), *_find_noteworthy(work)]
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
        require_database(settings.direct_database)
        require_migrations(settings.direct_database)
        with create_engine(sqlalchemy_url(settings.direct_database), poolclass=NullPool).connect() as connection:
            work = Work(
                workers=list_workers(connection),
                state=None if settings.broker_url is None else measure_queues(connection, settings),
                limits=list_limits(connection, settings),
                broken=find_broken(connection),
                differences=find_differences(connection),
                unanswered=find_unanswered_calls(connection),
                events=read_waiting(connection),
                ending_tokens=find_ending_tokens(connection),
            )
    except (CommandError, SQLAlchemyError) as error:
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        return Service("Database", first_line, is_good=False), None
    return Service("Database", "answers", is_good=True), work


def _ask_broker(settings: Settings, work: Work | None) -> Service:
    if settings.broker_url is None:
        return Service("Broker", "none runs, none is configured", is_good=False)
    error = None
    if work is not None and work.state is not None:
        error = work.state.broker_error
    else:
        try:
            with redis_client(settings.broker) as client:
                client.ping()
        except (redis.RedisError, OSError):
            error = "The broker does not answer: start it, or correct WATCHER_BROKER_URL."
    return Service("Broker", error or "answers", is_good=error is None)


def _count_workers(workers: Sequence[KnownWorker]) -> Service:
    alive = [worker for worker in workers if worker.state is WorkerState.ALIVE]
    if not alive:
        return Service("Workers", "none is alive: start one with `watcher worker`", is_good=False)
    processes = sum(worker.processes for worker in alive)
    active = sum(worker.active for worker in alive)
    return Service("Workers", f"{len(alive)} alive, {active} of {processes} processes busy", is_good=True)


def _find_noteworthy(work: Work) -> Iterator[Service]:
    """What needs no line most of the time: channels, the heartbeat, events of OpenLineage, and tokens."""
    wrong = [f"{channel.name} is broken: {channel.last_error}" for channel in work.broken]
    wrong += [f"{found.channel} differs: {found.text}" for found in work.differences]
    if wrong:
        yield Service("Channels", "; ".join(wrong), is_good=False)
    if work.unanswered is not None:
        said = f"{work.unanswered.error}, for {duration_text(work.unanswered.seconds)}: correct WATCHER_HEARTBEAT_URL"
        yield Service("Heartbeat", f"{said}, or look at its other side", is_good=False)
    stuck = stuck_text(work.events)
    if stuck is not None:
        advice = "see `watcher openlineage failed`" if work.events.failed else "start a worker that serves `scheduled`"
        yield Service("OpenLineage", f"{stuck}: {advice}", is_good=False)
    ends = [f"{token.name} expires on {token.expires_at:%Y-%m-%d}" for token in work.ending_tokens]
    if ends:
        # All is well until they expire, so this is no reason for another status.
        yield Service("Tokens", f"{'; '.join(ends)}: `watcher token rotate NAME`", is_good=True)
