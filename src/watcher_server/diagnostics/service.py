"""The diagnosis: everything that is read, at once and in a bounded time, and the checks of it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import psycopg
import redis
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from watcher_server.database.ingest_pool import IngestPool
from watcher_server.diagnostics.broker import BrokerFacts, judge_broker, read_broker
from watcher_server.diagnostics.checks import Check, Section, Unread, Verdict, known
from watcher_server.diagnostics.pools import judge_pools
from watcher_server.diagnostics.server import ServerFacts, judge_server, read_server
from watcher_server.diagnostics.sessions import Sessions, judge_beats, judge_sessions, read_sessions
from watcher_server.diagnostics.storage import Storage, judge_storage, read_storage
from watcher_server.diagnostics.work import (
    WorkFacts,
    judge_outbox,
    judge_queues,
    judge_tasks,
    judge_upkeep,
    judge_workers,
    read_work,
)
from watcher_server.health.service import check_readiness
from watcher_server.settings import Settings
from watcher_server.tasking.queues.depths import QueueState, measure_queues_async
from watcher_server.tasking.sending.broker_check import lasting_reason

logger = logging.getLogger(__name__)

T = TypeVar("T")

# The text of a driver's error names hosts and users, so the first sentence that fits is shown instead.
_REASONS: Sequence[tuple[type[Exception] | tuple[type[Exception], ...], str]] = (
    (psycopg.errors.LockNotAvailable, "A table that it reads is locked by another session: see who waits for locks."),
    (
        psycopg.errors.QueryCanceled,
        "A statement took longer than 3 seconds: see what else the database does, and try again.",
    ),
    (
        psycopg.errors.InsufficientPrivilege,
        "Watcher's role may not read it: grant it what belongs to Watcher's tables.",
    ),
    (psycopg.errors.UndefinedTable, "The database has not the tables of this version: run `watcher migrate`."),
    ((psycopg.OperationalError, OSError), "The database cannot be reached: start it, or correct WATCHER_DATABASE_URL."),
)


@dataclass(frozen=True)
class Findings:
    """Everything that was read at ``taken_at`` (UTC). The pools were judged before the reading took connections."""

    taken_at: datetime
    pools: Sequence[Check]
    readiness: dict[str, str | None]
    server: ServerFacts | Unread
    storage: Storage | Unread
    sessions: Sessions | Unread
    work: WorkFacts | Unread
    queues: QueueState | Unread
    broker: BrokerFacts | Unread


@dataclass(frozen=True)
class Diagnosis:
    """What was found, and the sections of checks on it."""

    findings: Findings
    sections: Sequence[Section]

    @property
    def checks(self) -> Sequence[Check]:
        """The checks of all sections."""
        return [check for section in self.sections for check in section.checks]

    def section(self, key: str) -> Section:
        """The section of that key."""
        return next(section for section in self.sections if section.key == key)

    @property
    def wanting(self) -> Sequence[tuple[Section, Check]]:
        """The checks that are not ok, with their sections, the most urgent first."""
        found = [(section, check) for section in self.sections for check in section.checks if check.verdict.gravity]
        return sorted(found, key=lambda pair: -pair[1].verdict.gravity)


async def diagnose(engine: AsyncEngine, ingest_pool: IngestPool, settings: Settings) -> Diagnosis:
    """Look at everything now; it takes four seconds at most, even if an engine does not answer."""
    findings = await _read_everything(engine, ingest_pool, settings)
    work, queues, sessions = findings.work, findings.queues, findings.sessions
    # In the order in which they are shown.
    sections = (
        Section("database", "Database", _judge_database(findings)),
        Section("storage", "Tables and indexes", _judge_storage(findings)),
        Section("sessions", "Sessions and locks", _checked(sessions, judge_sessions)),
        Section("pools", "Connections of this api process", findings.pools),
        Section("broker", "Broker", _judge_broker(findings)),
        Section("workers", "Workers", _checked(work, lambda facts: judge_workers(facts, known(queues)))),
        Section("outbox", "Outbox", _checked(work, lambda facts: judge_outbox(facts, known(sessions)))),
        Section("queues", "Queues", _checked(queues, lambda state: judge_queues(state, settings))),
        Section("tasks", "Tasks and alerts", _checked(work, lambda facts: judge_tasks(facts, settings))),
        Section("upkeep", "Upkeep", _judge_upkeep(findings, settings)),
    )
    return Diagnosis(findings, sections)


async def _read_everything(engine: AsyncEngine, ingest_pool: IngestPool, settings: Settings) -> Findings:
    """Ask database, broker and this process, with three connections of the query pool."""
    pools = judge_pools(engine, ingest_pool)
    # The limit of everything together also ends the wait for a connection of a pool that has none left.
    deadline = asyncio.get_running_loop().time() + 4

    async def attempt(read: Callable[[AsyncConnection], Awaitable[T]]) -> T | Unread:
        return await _attempt(_in_transaction(engine, read), deadline)

    async def server_and_sessions() -> tuple[ServerFacts | Unread, Sessions | Unread]:
        return await attempt(read_server), await attempt(read_sessions)

    async def storage_and_readiness() -> tuple[Storage | Unread, dict[str, str | None]]:
        return await attempt(read_storage), await check_readiness(engine, settings.broker)

    async def work_and_queues() -> tuple[WorkFacts | Unread, QueueState | Unread]:
        work = await attempt(lambda connection: connection.run_sync(read_work, settings))
        if isinstance(work, Unread):
            # The queues are read from the same tables, which would take longer still.
            return work, work
        return work, await _attempt(measure_queues_async(engine, settings), deadline)

    (server, sessions), (storage, readiness), (work, queues), broker = await asyncio.gather(
        server_and_sessions(), storage_and_readiness(), work_and_queues(), _attempt_broker(settings.broker)
    )
    return Findings(datetime.now(UTC), pools, readiness, server, storage, sessions, work, queues, broker)


async def _in_transaction(engine: AsyncEngine, read: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    """Read in a transaction of its own, in which no statement takes long or waits long for a lock."""
    async with engine.connect() as connection:
        await connection.execute(
            text("SELECT set_config('statement_timeout', '3s', true), set_config('lock_timeout', '1s', true)")
        )
        return await read(connection)


async def _attempt(reading: Awaitable[T], deadline: float) -> T | Unread:
    try:
        async with asyncio.timeout_at(deadline):
            return await reading
    except TimeoutError:
        return Unread(
            "There was no answer, or no free connection, within 4 seconds: see the pools, and the load of the database."
        )
    except (SQLAlchemyError, OSError) as error:
        logger.warning("A part of the diagnosis could not be read: %s: %s", type(error).__name__, error)
        cause: Any = error.orig if isinstance(error, DBAPIError) else error
        reasons = (reason for kind, reason in _REASONS if isinstance(cause, kind))
        return Unread(next(reasons, "Reading it failed: the log of the api says why."))


async def _attempt_broker(broker_url: str) -> BrokerFacts | Unread:
    try:
        async with asyncio.timeout(2):
            return await read_broker(broker_url)
    except (TimeoutError, redis.TimeoutError):
        return Unread("The broker does not answer within 2 seconds: restart it, or look at the network.")
    except (redis.RedisError, OSError) as error:
        away = "The broker cannot be reached: start it, or correct WATCHER_BROKER_URL."
        return Unread(lasting_reason(error) or away)


def _checked(found: T | Unread, judge_found: Callable[[T], list[Check]]) -> list[Check]:
    if isinstance(found, Unread):
        return [Check("Could not be read", "unknown", "an answer within 3 s", Verdict.UNKNOWN, found.reason)]
    return judge_found(found)


def _judge_database(findings: Findings) -> list[Check]:
    server, storage = findings.server, known(findings.storage)
    if isinstance(server, Unread):
        return [Check("Answers", "no", "below 50 ms", Verdict.ACT, server.reason)]
    executions = sum(table.rows for table in storage.tables if table.name == "pipeline_execution") if storage else 0
    return judge_server(server, findings.readiness["migrations"], executions)


def _judge_storage(findings: Findings) -> list[Check]:
    server = known(findings.server)
    if server is None:
        return _checked(findings.storage, lambda _: [])
    counting = max(timedelta(0), findings.taken_at - server.counting_since)
    return _checked(findings.storage, lambda storage: judge_storage(storage, counting, autovacuum=server.autovacuum))


def _judge_upkeep(findings: Findings, settings: Settings) -> list[Check]:
    sessions = known(findings.sessions)
    checks = _checked(findings.work, lambda facts: judge_upkeep(facts, settings, findings.taken_at))
    return checks if sessions is None else [judge_beats(sessions), *checks]


def _judge_broker(findings: Findings) -> list[Check]:
    if not isinstance(findings.broker, Unread):
        return judge_broker(findings.broker)
    work = known(findings.work)
    answered_at = work.broker_answered_at if work is not None else None
    since = f"; the last time at {answered_at:%Y-%m-%d %H:%M} UTC" if answered_at is not None else ""
    remedy = f"{findings.broker.reason} Reports go on meanwhile, and tasks wait in the database: nothing is lost."
    return [Check("Answers", f"no{since}", "below 50 ms", Verdict.ACT, remedy)]
