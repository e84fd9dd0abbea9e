"""What is normal, and what is not: thresholds at their edges."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

import pytest

from watcher_server.diagnostics import broker, server, sessions, storage, work
from watcher_server.diagnostics.broker import BrokerFacts
from watcher_server.diagnostics.checks import Check, Verdict, gravest
from watcher_server.diagnostics.pools import judge_ingest_pool, judge_query_pool
from watcher_server.diagnostics.server import ServerFacts
from watcher_server.diagnostics.sessions import BusySession, LockWait, Sessions
from watcher_server.diagnostics.storage import IndexFacts, Storage, TableFacts
from watcher_server.diagnostics.work import WorkFacts
from watcher_server.settings import load_settings
from watcher_server.tasking.queues.depths import QueueState
from watcher_server.tasking.queues.load import total_load
from watcher_server.tasking.workers.service import KnownWorker, WorkerState

OK, LOOK, ACT = Verdict.OK, Verdict.LOOK, Verdict.ACT
NOW = datetime(2026, 11, 22, tzinfo=UTC)
WEEK = timedelta(days=7)

TABLE = TableFacts(
    name="pipeline_execution",
    rows=1_000_000,
    dead_rows=0,
    changed_rows=0,
    table_bytes=1,
    index_bytes=1,
    size_bytes=2,
    sequential_scans=0,
    sequential_rows=0,
    index_scans=0,
    vacuumed_at=NOW,
    analyzed_at=NOW,
    tuned=False,
)
INDEX = IndexFacts("ix_custom", "pipeline_execution", 2**30, scans=0, used_at=None, enforces=False, valid=True)
INGEST = {"pool_max": 8, "pool_size": 8, "pool_available": 0}
WAIT = LockWait(
    1, 0.5, "ShareLock of pipeline", None, 2, "idle in transaction", 9.0, holder_waits=False, holder_statement=None
)
BUSY = BusySession(3, "psql", "active", 1.0, 1.0, "SELECT 1")
IDLE = replace(BUSY, state="idle in transaction")
UNUSED = "Large indexes that nobody uses"
WORK = WorkFacts(
    due=0,
    overdue_messages=0,
    later=0,
    oldest_seconds=None,
    failed_lately=0,
    failed=0,
    alerts_late=0,
    alerts_oldest_seconds=None,
    alerts_given_up=0,
    unsummed_seconds=0.0,
    changes=0,
    cleaned_up_at=None,
    broker_answered_at=None,
    clocks_ahead=0,
    most_ahead_seconds=None,
    overdue={"freshness_check_task": 0.0},
    workers=(),
)


SERVER = ServerFacts(
    version="18.1",
    version_number=180_001,
    size_bytes=1,
    read_only=False,
    standby=False,
    connections=1,
    connections_most=100,
    transaction_age=1,
    multixact_age=1,
    blocks_hit=0,
    blocks_read=0,
    counting_since=NOW,
    autovacuum=True,
    hidden_sessions=0,
    role="watcher",
    answer_seconds=0.001,
    clock_difference=timedelta(0),
)
BROKER = BrokerFacts(0.001, {"maxmemory_policy": "noeviction"}, saves=True)
WORKER = KnownWorker(
    id=UUID(int=1),
    name="celery@one",
    host="one",
    pid=1,
    state=WorkerState.ALIVE,
    queues=["celery"],
    processes=2,
    active=0,
    started_at=NOW,
    seen_at=NOW,
    stopped_at=None,
    metrics_url=None,
    seen_seconds=1.0,
)
LOAD = total_load([], broker_answers=True)
QUEUES = QueueState(LOAD, {}, {}, {}, 0, {}, None)


def _titled(checks: Sequence[Check], title: str) -> Check:
    return next(check for check in checks if check.title == title)


def _server(title: str, migrations: str | None = None, executions: int = 0, **changed: object) -> Check:
    facts = replace(SERVER, **changed)  # type: ignore[arg-type]
    return _titled(server.judge_server(facts, migrations, executions), title)


def _table(title: str, counting: timedelta = WEEK, **changed: object) -> Check:
    stored = Storage([replace(TABLE, **changed)], [])  # type: ignore[arg-type]
    return _titled(storage.judge_storage(stored, counting, autovacuum=True), title)


def _indexes(title: str, *indexes: IndexFacts, counting: timedelta = WEEK) -> Check:
    return _titled(storage.judge_storage(Storage([], indexes), counting, autovacuum=True), title)


def _autovacuum(*, on: bool) -> Check:
    return _titled(storage.judge_storage(Storage([], []), WEEK, autovacuum=on), "Autovacuum")


def _sessions(title: str, *found: LockWait | BusySession) -> Check:
    waits = [one for one in found if isinstance(one, LockWait)]
    busy = [one for one in found if isinstance(one, BusySession)]
    return _titled(sessions.judge_sessions(Sessions(waits, busy, {}, 1, kept=True, beats=1)), title)


def _ingest_pool(title: str, **changed: int) -> Check:
    return _titled(judge_ingest_pool(INGEST | changed), title)


def _broker(title: str, **changed: object) -> Check:
    return _titled(broker.judge_broker(replace(BROKER, **changed)), title)  # type: ignore[arg-type]


def _info(title: str, **info: object) -> Check:
    return _broker(title, info=info)


def _workers(title: str, *states: WorkerState, served: Mapping[str, int] | None = None) -> Check:
    facts = replace(WORK, workers=[WORKER.model_copy(update={"state": state}) for state in states])
    queues = replace(QUEUES, queues=dict.fromkeys(served or {}, LOAD), workers=served or {})
    return _titled(work.judge_workers(facts, queues), title)


def _queues(pending: int, broker_error: str | None = None) -> Check:
    state = replace(QUEUES, queues={"celery": LOAD.model_copy(update={"ready": pending})}, broker_error=broker_error)
    return _titled(work.judge_queues(state, load_settings()), "Pending in the fullest queue")


def _outbox(title: str, relays: int = 1, *, kept: bool = True, **changed: object) -> Check:
    facts = replace(WORK, **changed)  # type: ignore[arg-type]
    return _titled(work.judge_outbox(facts, Sessions([], [], {}, relays, kept=kept, beats=1)), title)


def _beats(number: int) -> Check:
    return sessions.judge_beats(Sessions([], [], {}, 1, kept=True, beats=number))


def _tasks(title: str, **changed: object) -> Check:
    return _titled(work.judge_tasks(replace(WORK, **changed), load_settings()), title)  # type: ignore[arg-type]


def _alerts(seconds: float | None, late: int, given_up: int = 0) -> Check:
    return _tasks("Alerts not delivered", alerts_late=late, alerts_oldest_seconds=seconds, alerts_given_up=given_up)


def _upkeep(title: str, days: int | None = 365, **changed: object) -> Check:
    facts = replace(WORK, **changed)  # type: ignore[arg-type]
    return _titled(work.judge_upkeep(facts, load_settings(retention_days=days), NOW), title)


def _sums(behind: float | None, changes: int = 0) -> Check:
    return _upkeep("Daily sums", unsummed_seconds=behind, changes=changes)


def _retention(overdue: float, days: int | None = 365) -> Check:
    return _upkeep("Retention", days, overdue={"retention_task": overdue}, cleaned_up_at=NOW)


def _dead(rows: int, dead: int) -> Check:
    return _table("Dead rows", rows=rows, dead_rows=dead)


def _scanned(scans: int, rows_each: int) -> Check:
    return _table("Large tables read whole", sequential_scans=scans, sequential_rows=scans * rows_each)


@pytest.mark.parametrize(
    ("check", "verdict"),
    [
        (partial(_server, "Answers", answer_seconds=0.049), OK),
        (partial(_server, "Answers", answer_seconds=0.05), LOOK),
        (partial(_server, "Answers", answer_seconds=1.0), ACT),
        (partial(_server, "Version", version="15.9", version_number=150_009), ACT),
        (partial(_server, "Version", version="16.4 (Debian)", version_number=160_004), OK),
        (partial(_server, "Version", version="18.1", version_number=180_001), OK),
        (partial(_server, "Version", version="19.0", version_number=190_000), LOOK),
        (partial(_server, "Migrations", None), OK),
        (partial(_server, "Migrations", "Run it."), ACT),
        (partial(_server, "Can be written", read_only=False, standby=False), OK),
        (partial(_server, "Can be written", read_only=True, standby=False), ACT),
        (partial(_server, "Can be written", read_only=False, standby=True), ACT),
        (partial(_server, "Connections", connections=79, connections_most=100), OK),
        (partial(_server, "Connections", connections=80, connections_most=100), LOOK),
        (partial(_server, "Connections", connections=95, connections_most=100), ACT),
        (partial(_server, "Age of transaction ids", transaction_age=200_000_000, multixact_age=499_999_999), OK),
        (partial(_server, "Age of transaction ids", transaction_age=500_000_000, multixact_age=0), LOOK),
        (partial(_server, "Age of transaction ids", transaction_age=0, multixact_age=1_000_000_000), ACT),
        (partial(_server, "Found in memory", blocks_hit=0, blocks_read=0), OK),
        (partial(_server, "Found in memory", blocks_hit=10, blocks_read=90), OK),
        (partial(_server, "Found in memory", blocks_hit=900_000, blocks_read=100_000), LOOK),
        (partial(_server, "Found in memory", blocks_hit=990_000, blocks_read=10_000), OK),
        (partial(_server, "Clocks of api and database", clock_difference=timedelta(seconds=-1.9)), OK),
        (partial(_server, "Clocks of api and database", clock_difference=timedelta(seconds=-2.0)), LOOK),
        (partial(_server, "Clocks of api and database", clock_difference=timedelta(seconds=30.0)), ACT),
        (partial(_server, "What Watcher may see", hidden_sessions=0), OK),
        (partial(_server, "What Watcher may see", hidden_sessions=1), LOOK),
        (partial(_server, "Size", size_bytes=2**40, executions=99_999), OK),
        (partial(_server, "Size", size_bytes=4096 * 200_000 - 1, executions=200_000), OK),
        (partial(_server, "Size", size_bytes=4096 * 200_000, executions=200_000), LOOK),
        (partial(_autovacuum, on=True), OK),
        (partial(_autovacuum, on=False), ACT),
        (partial(_dead, 10, 9_999), OK),
        (partial(_dead, 100_000, 29_999), OK),
        (partial(_dead, 100_000, 30_000), LOOK),
        (partial(_dead, 100_000, 100_000), ACT),
        (partial(_table, "Planner's statistics", analyzed_at=None), LOOK),
        (partial(_table, "Planner's statistics", analyzed_at=None, rows=9_999), OK),
        (partial(_table, "Planner's statistics", changed_rows=300_000), LOOK),
        (partial(_table, "Planner's statistics", changed_rows=299_999), OK),
        (partial(_table, "Autovacuum of large tables", rows=50_000_000), LOOK),
        (partial(_table, "Autovacuum of large tables", rows=50_000_000, tuned=True), OK),
        (partial(_scanned, 7 * 24, 1_000_000), LOOK),
        (partial(_scanned, 7 * 24 - 1, 1_000_000), OK),
        (partial(_scanned, 10_000, 1), OK),
        (partial(_indexes, UNUSED, INDEX), LOOK),
        (partial(_indexes, UNUSED, INDEX, counting=timedelta(days=6)), OK),
        (partial(_indexes, UNUSED, replace(INDEX, enforces=True)), OK),
        (partial(_indexes, UNUSED, replace(INDEX, scans=1)), OK),
        (partial(_indexes, UNUSED, replace(INDEX, size_bytes=None)), OK),
        (partial(_indexes, "Whole indexes", INDEX), OK),
        (partial(_indexes, "Whole indexes", replace(INDEX, valid=False)), ACT),
        (partial(_sessions, "Waiting for locks"), OK),
        (partial(_sessions, "Waiting for locks", WAIT), OK),
        (partial(_sessions, "Waiting for locks", replace(WAIT, seconds=1.0)), LOOK),
        (partial(_sessions, "Waiting for locks", WAIT, replace(WAIT, seconds=30.0)), ACT),
        (partial(_sessions, "Longest statement", replace(BUSY, seconds=59.0)), OK),
        (partial(_sessions, "Longest statement", replace(BUSY, seconds=60.0)), LOOK),
        (partial(_sessions, "Longest statement", replace(BUSY, seconds=600.0)), ACT),
        (partial(_sessions, "Idle in transaction", replace(IDLE, seconds=9.9)), OK),
        (partial(_sessions, "Idle in transaction", replace(IDLE, seconds=10.0)), LOOK),
        (partial(_sessions, "Idle in transaction", replace(IDLE, seconds=300.0)), ACT),
        (partial(judge_query_pool, 5, in_use=7, overflow=2), OK),
        (partial(judge_query_pool, 5, in_use=8, overflow=3), LOOK),
        (partial(judge_query_pool, 5, in_use=10, overflow=5), ACT),
        (partial(_ingest_pool, "Ingest pool", requests_waiting=7), OK),
        (partial(_ingest_pool, "Ingest pool", requests_waiting=8), LOOK),
        (partial(_ingest_pool, "Ingest pool", requests_waiting=80), ACT),
        (partial(_ingest_pool, "Reports without a connection"), OK),
        (partial(_ingest_pool, "Reports without a connection", requests_errors=1), LOOK),
        (partial(_broker, "Answers", info=None, answer_seconds=0.2), LOOK),
        (partial(_info, "Can be written", role="slave"), ACT),
        (partial(_info, "Memory", used_memory=2**40, maxmemory=0), OK),
        (partial(_info, "Memory", used_memory=75, maxmemory=100), LOOK),
        (partial(_info, "Memory", used_memory=90, maxmemory=100), ACT),
        (partial(_info, "When its memory is full", maxmemory_policy="noeviction", maxmemory=0), OK),
        (partial(_info, "When its memory is full", maxmemory_policy="allkeys-lru", maxmemory=0), LOOK),
        (partial(_info, "When its memory is full", maxmemory_policy="allkeys-lru", maxmemory=100), ACT),
        (partial(_broker, "Persistence", saves=False), OK),
        (partial(_broker, "Persistence", saves=None), OK),
        (partial(_info, "Persistence", aof_last_write_status="err"), ACT),
        (partial(_info, "Clients", connected_clients=95, maxclients=100), ACT),
        (partial(_broker, "Keys", keys=9_999), OK),
        (partial(_broker, "Keys", keys=10_000), LOOK),
        (partial(_workers, "Alive", WorkerState.DIED, WorkerState.STOPPED), ACT),
        (partial(_workers, "Alive", WorkerState.ALIVE), OK),
        (partial(_workers, "Died within the hour", WorkerState.DIED), LOOK),
        (partial(_workers, "Queues without a worker", served={"celery": 1, "scheduled": 0}), ACT),
        (partial(_workers, "Queues without a worker", served={"celery": 1, "scheduled": 1}), OK),
        (partial(_queues, 19), OK),
        (partial(_queues, 20), LOOK),
        (partial(_queues, 100), ACT),
        (partial(_queues, 19, "away"), Verdict.UNKNOWN),
        (partial(_queues, 20, "away"), LOOK),
        (partial(_outbox, "Waiting to be published", due=9, oldest_seconds=59.0), OK),
        (partial(_outbox, "Waiting to be published", due=9, oldest_seconds=60.0), LOOK),
        (partial(_outbox, "Waiting to be published", due=9, oldest_seconds=3600.0), ACT),
        (partial(_outbox, "Relays", relays=0), ACT),
        (partial(_outbox, "Keeper", kept=False), ACT),
        (partial(_tasks, "Tasks failed in 24 hours", failed_lately=0, failed=100), OK),
        (partial(_tasks, "Tasks failed in 24 hours", failed_lately=1, failed=100), LOOK),
        (partial(_alerts, 30.0, 0), OK),
        (partial(_alerts, 61.0, 1), LOOK),
        (partial(_alerts, 3600.0, 1), ACT),
        (partial(_alerts, None, 0, given_up=1), LOOK),
        (partial(_upkeep, "Clocks of clients"), OK),
        (partial(_upkeep, "Clocks of clients", clocks_ahead=1, most_ahead_seconds=61.0), LOOK),
        (partial(_beats, 0), LOOK),
        (partial(_beats, 1), OK),
        (partial(_beats, 2), LOOK),
        (partial(_upkeep, "Scheduled checks", overdue={}), LOOK),
        (partial(_upkeep, "Scheduled checks", overdue={"freshness_check_task": 119.0}), OK),
        (partial(_upkeep, "Scheduled checks", overdue={"freshness_check_task": 120.0}), LOOK),
        (partial(_upkeep, "Scheduled checks", overdue={"freshness_check_task": 900.0, "retention_task": 1e9}), ACT),
        (partial(_sums, None), OK),
        (partial(_sums, 3 * 3600.0), LOOK),
        (partial(_sums, 2 * 86_400.0), ACT),
        (partial(_sums, 0.0, 10_000), LOOK),
        (partial(_retention, 0.0), OK),
        (partial(_retention, 3600.0), LOOK),
        (partial(_retention, 2 * 86_400.0), ACT),
        (partial(_retention, 2 * 86_400.0, days=None), OK),
    ],
)
def test_a_figure_is_judged_by_its_thresholds(check: Callable[[], Check], verdict: Verdict) -> None:
    judged = check()
    assert judged.verdict is verdict
    assert judged.remedy.endswith((".", "?"))
    assert judged.figure
    assert judged.normal


def test_only_what_holds_up_others_is_to_be_ended() -> None:
    waits = [replace(WAIT, seconds=5.0), replace(WAIT, pid=3, seconds=4.0, holder=1, holder_waits=True)]
    check = _sessions("Waiting for locks", *waits)
    assert check.figure == "2 sessions, the longest for 5s"
    assert check.commands == ["SELECT pg_terminate_backend(2);"]


def test_an_index_of_watcher_is_never_to_be_dropped() -> None:
    own = replace(INDEX, name="ix_pipeline_execution_baseline")
    check = _indexes(UNUSED, INDEX, own, replace(INDEX, name='odd "name"'))
    assert check.commands == [
        "DROP INDEX CONCURRENTLY ix_custom;",
        'DROP INDEX CONCURRENTLY "odd ""name""";',
    ]


def test_the_gravest_verdict_counts() -> None:
    assert gravest([]) is OK
    assert gravest([OK, Verdict.UNKNOWN]) is Verdict.UNKNOWN
    assert gravest([LOOK, ACT, Verdict.UNKNOWN]) is ACT
