"""The diagnosis: everything that was read, with what it means."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine

from watcher_server.database.engine import IngestPool
from watcher_server.diagnostics.checks import Check, Section, Verdict
from watcher_server.diagnostics.judging import broker as broker_judging
from watcher_server.diagnostics.judging import server as server_judging
from watcher_server.diagnostics.judging.pools import judge_pools
from watcher_server.diagnostics.judging.sessions import judge_sessions
from watcher_server.diagnostics.judging.storage import counting_for, judge_storage
from watcher_server.diagnostics.judging.work import (
    judge_outbox,
    judge_queues,
    judge_tasks,
    judge_upkeep,
    judge_workers,
)
from watcher_server.diagnostics.reading import Findings, Unread, read_everything
from watcher_server.queue_monitor.depths import QueueState
from watcher_server.settings import Settings

T = TypeVar("T")


@dataclass(frozen=True)
class Diagnosis:
    """What was found, and the sections of checks on it."""

    findings: Findings
    sections: Sequence[Section]

    @property
    def checks(self) -> Sequence[Check]:
        """All of them."""
        return [check for section in self.sections for check in section.checks]

    def section(self, key: str) -> Section:
        """The section of that key."""
        return next(section for section in self.sections if section.key == key)

    @property
    def wanting(self) -> Sequence[tuple[Section, Check]]:
        """The checks that are not as they should be, with their sections: those that want somebody most come first."""
        found = [
            (section, check) for section in self.sections for check in section.checks if check.verdict is not Verdict.OK
        ]
        order = (Verdict.ACT, Verdict.LOOK, Verdict.UNKNOWN)
        return sorted(found, key=lambda pair: order.index(pair[1].verdict))


async def diagnose(engine: AsyncEngine, ingest_pool: IngestPool, settings: Settings) -> Diagnosis:
    """Look at everything now; it takes four seconds at most, whatever is away."""
    findings = await read_everything(engine, ingest_pool, settings)
    return Diagnosis(findings, judge(findings, settings))


def judge(findings: Findings, settings: Settings) -> Sequence[Section]:
    """The sections, in the order in which they are shown."""
    sessions, queues = known(findings.sessions), known(findings.queues)
    return (
        Section("database", "Database", _judge_database(findings)),
        Section("storage", "Tables and indexes", _judge_storage(findings)),
        Section("sessions", "Sessions and locks", _checked(findings.sessions, judge_sessions)),
        Section("pools", "Connections of this api process", judge_pools(findings.query_pool, findings.ingest_pool)),
        Section("broker", "Broker", _judge_broker(findings)),
        Section(
            "workers",
            "Workers",
            _checked(findings.work, lambda facts: judge_workers(facts.workers, _served(queues))),
        ),
        Section("outbox", "Outbox", _checked(findings.work, lambda facts: judge_outbox(facts, sessions))),
        Section("queues", "Queues", _checked(findings.queues, lambda facts: judge_queues(facts, settings))),
        Section("tasks", "Tasks and alerts", _checked(findings.work, lambda facts: judge_tasks(facts, settings))),
        Section(
            "upkeep",
            "Upkeep",
            _checked(findings.work, lambda facts: judge_upkeep(facts, settings, findings.taken_at)),
        ),
    )


def known(found: T | Unread) -> T | None:
    """What was read; None when it could not be."""
    return None if isinstance(found, Unread) else found


def _checked(found: T | Unread, judge_found: Callable[[T], list[Check]]) -> list[Check]:
    if isinstance(found, Unread):
        return [Check("Could not be read", "unknown", "an answer within 3 s", Verdict.UNKNOWN, found.reason)]
    return judge_found(found)


def _judge_database(findings: Findings) -> list[Check]:
    server, storage = findings.server, known(findings.storage)
    if isinstance(server, Unread):
        return [server_judging.judge_absence(server.reason)]
    checks = server_judging.judge_server(server, findings.readiness["migrations"])
    executions = sum(table.rows for table in storage.tables if table.name == "pipeline_execution") if storage else 0
    return [*checks, server_judging.judge_size(server.size_bytes, executions)]


def _judge_storage(findings: Findings) -> list[Check]:
    server = known(findings.server)
    if server is None:
        return _checked(findings.storage, lambda _: [])
    counting = counting_for(server.counting_since, findings.taken_at)
    return _checked(findings.storage, lambda storage: judge_storage(storage, counting, autovacuum=server.autovacuum))


def _judge_broker(findings: Findings) -> list[Check]:
    work = known(findings.work)
    if isinstance(findings.broker, Unread):
        answered_at = work.broker_answered_at if work is not None else None
        return [broker_judging.judge_absence(findings.broker.reason, answered_at)]
    return broker_judging.judge_broker(findings.broker)


def _served(queues: QueueState | None) -> Mapping[str, int] | None:
    """How many living workers each queue has; None when it is not known."""
    return None if queues is None else {queue: queues.workers.get(queue, 0) for queue in queues.queues}
