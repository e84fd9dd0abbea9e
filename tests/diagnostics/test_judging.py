"""What is normal, and what is not: thresholds at their edges."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from watcher_server.diagnostics.broker import BrokerFacts
from watcher_server.diagnostics.checks import Check, Verdict, gravest
from watcher_server.diagnostics.judging import broker, pools, server, sessions, storage, work
from watcher_server.diagnostics.pools import IngestPoolFacts, QueryPoolFacts
from watcher_server.diagnostics.sessions import BusySession, LockWait
from watcher_server.diagnostics.storage import IndexFacts, TableFacts
from watcher_server.diagnostics.work import WorkFacts
from watcher_server.health.service import Check as ReadinessCheck
from watcher_server.settings import Settings, load_settings

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
    sequential_scans=0,
    sequential_rows=0,
    index_scans=0,
    vacuumed_at=NOW,
    analyzed_at=NOW,
    tuned=False,
)
INDEX = IndexFacts("ix_custom", "pipeline_execution", 2**30, scans=0, used_at=None, enforces=False, valid=True)
INGEST = IngestPoolFacts(size=2, most=8, in_use=0, waiting=0, requests=10, queued=0, errors=0, lost=0)
WAIT = LockWait(
    1, 0.5, "ShareLock of pipeline", None, 2, "idle in transaction", 9.0, holder_waits=False, holder_statement=None
)
BUSY = BusySession(3, "psql", "active", 1.0, 1.0, "SELECT 1")
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
    overdue={"freshness_check_task": 0.0},
    workers=(),
)


def _settings(**values: object) -> Settings:
    return load_settings(**values)


def _sums(behind: float | None, changes: int = 0) -> Check:
    return work.judge_sums(replace(WORK, unsummed_seconds=behind, changes=changes))


def _retention(overdue: float, days: int | None = 365) -> Check:
    facts = replace(WORK, overdue={"retention_task": overdue}, cleaned_up_at=NOW)
    return work.judge_retention(facts, _settings(retention_days=days), NOW)


def _alerts(seconds: float | None, late: int, given_up: int = 0) -> Check:
    facts = replace(WORK, alerts_late=late, alerts_oldest_seconds=seconds, alerts_given_up=given_up)
    return work.judge_alerts(facts, _settings())


def _dead(rows: int, dead: int) -> Check:
    return storage.judge_dead_rows([replace(TABLE, rows=rows, dead_rows=dead)])


def _scanned(scans: int, rows_each: int) -> Check:
    table = replace(TABLE, sequential_scans=scans, sequential_rows=scans * rows_each)
    return storage.judge_scans([table], WEEK)


@pytest.mark.parametrize(
    ("check", "verdict"),
    [
        (partial(server.judge_answer, 0.049), OK),
        (partial(server.judge_answer, 0.05), LOOK),
        (partial(server.judge_answer, 1.0), ACT),
        (partial(server.judge_version, "15.9", 150_009), ACT),
        (partial(server.judge_version, "16.4 (Debian)", 160_004), OK),
        (partial(server.judge_version, "18.1", 180_001), OK),
        (partial(server.judge_version, "19.0", 190_000), LOOK),
        (partial(server.judge_migrations, ReadinessCheck()), OK),
        (partial(server.judge_migrations, ReadinessCheck("Run it.")), ACT),
        (partial(server.judge_writable, read_only=False, standby=False), OK),
        (partial(server.judge_writable, read_only=True, standby=False), ACT),
        (partial(server.judge_writable, read_only=False, standby=True), ACT),
        (partial(server.judge_connections, 79, 100), OK),
        (partial(server.judge_connections, 80, 100), LOOK),
        (partial(server.judge_connections, 95, 100), ACT),
        (partial(server.judge_age, 200_000_000, 499_999_999), OK),
        (partial(server.judge_age, 500_000_000, 0), LOOK),
        (partial(server.judge_age, 0, 1_000_000_000), ACT),
        (partial(server.judge_cache, 0, 0), OK),
        (partial(server.judge_cache, 10, 90), OK),
        (partial(server.judge_cache, 900_000, 100_000), LOOK),
        (partial(server.judge_cache, 990_000, 10_000), OK),
        (partial(server.judge_clock, -1.9), OK),
        (partial(server.judge_clock, -2.0), LOOK),
        (partial(server.judge_clock, 30.0), ACT),
        (partial(server.judge_sight, 0, "watcher"), OK),
        (partial(server.judge_sight, 1, "watcher"), LOOK),
        (partial(server.judge_size, 2**40, 99_999), OK),
        (partial(server.judge_size, 4096 * 200_000 - 1, 200_000), OK),
        (partial(server.judge_size, 4096 * 200_000, 200_000), LOOK),
        (partial(storage.judge_autovacuum, on=True), OK),
        (partial(storage.judge_autovacuum, on=False), ACT),
        (partial(_dead, 10, 9_999), OK),
        (partial(_dead, 100_000, 29_999), OK),
        (partial(_dead, 100_000, 30_000), LOOK),
        (partial(_dead, 100_000, 100_000), ACT),
        (partial(storage.judge_analyzed, [replace(TABLE, analyzed_at=None)]), LOOK),
        (partial(storage.judge_analyzed, [replace(TABLE, analyzed_at=None, rows=9_999)]), OK),
        (partial(storage.judge_analyzed, [replace(TABLE, changed_rows=300_000)]), LOOK),
        (partial(storage.judge_analyzed, [replace(TABLE, changed_rows=299_999)]), OK),
        (partial(storage.judge_large_tables, [replace(TABLE, rows=50_000_000)]), LOOK),
        (partial(storage.judge_large_tables, [replace(TABLE, rows=50_000_000, tuned=True)]), OK),
        (partial(_scanned, 7 * 24, 1_000_000), LOOK),
        (partial(_scanned, 7 * 24 - 1, 1_000_000), OK),
        (partial(_scanned, 10_000, 1), OK),
        (partial(storage.judge_unused, [INDEX], WEEK), LOOK),
        (partial(storage.judge_unused, [INDEX], timedelta(days=6)), OK),
        (partial(storage.judge_unused, [replace(INDEX, enforces=True)], WEEK), OK),
        (partial(storage.judge_unused, [replace(INDEX, scans=1)], WEEK), OK),
        (partial(storage.judge_unused, [replace(INDEX, size_bytes=None)], WEEK), OK),
        (partial(storage.judge_valid, [INDEX]), OK),
        (partial(storage.judge_valid, [replace(INDEX, valid=False)]), ACT),
        (partial(sessions.judge_waits, []), OK),
        (partial(sessions.judge_waits, [WAIT]), OK),
        (partial(sessions.judge_waits, [replace(WAIT, seconds=1.0)]), LOOK),
        (partial(sessions.judge_waits, [WAIT, replace(WAIT, seconds=30.0)]), ACT),
        (partial(sessions.judge_long, [replace(BUSY, seconds=59.0)]), OK),
        (partial(sessions.judge_long, [replace(BUSY, seconds=60.0)]), LOOK),
        (partial(sessions.judge_long, [replace(BUSY, seconds=600.0)]), ACT),
        (partial(sessions.judge_idle, [replace(BUSY, seconds=9.9)]), OK),
        (partial(sessions.judge_idle, [replace(BUSY, seconds=10.0)]), LOOK),
        (partial(sessions.judge_idle, [replace(BUSY, seconds=300.0)]), ACT),
        (partial(pools.judge_query_pool, QueryPoolFacts(5, 10, in_use=7, overflow=2)), OK),
        (partial(pools.judge_query_pool, QueryPoolFacts(5, 10, in_use=8, overflow=3)), LOOK),
        (partial(pools.judge_query_pool, QueryPoolFacts(5, 10, in_use=10, overflow=5)), ACT),
        (partial(pools.judge_ingest_pool, replace(INGEST, in_use=8, waiting=7)), OK),
        (partial(pools.judge_ingest_pool, replace(INGEST, waiting=8)), LOOK),
        (partial(pools.judge_ingest_pool, replace(INGEST, waiting=80)), ACT),
        (partial(pools.judge_ingest_errors, INGEST), OK),
        (partial(pools.judge_ingest_errors, replace(INGEST, errors=1)), LOOK),
        (partial(broker.judge_answer, BrokerFacts(0.2)), LOOK),
        (partial(broker.judge_role, replica=True), ACT),
        (partial(broker.judge_memory, 2**40, 0), OK),
        (partial(broker.judge_memory, 75, 100), LOOK),
        (partial(broker.judge_memory, 90, 100), ACT),
        (partial(broker.judge_policy, "noeviction", 0), OK),
        (partial(broker.judge_policy, "allkeys-lru", 0), LOOK),
        (partial(broker.judge_policy, "allkeys-lru", 100), ACT),
        (partial(broker.judge_saving, saves=False, failed=False), OK),
        (partial(broker.judge_saving, saves=None, failed=False), OK),
        (partial(broker.judge_saving, saves=True, failed=True), ACT),
        (partial(broker.judge_clients, 95, 100), ACT),
        (partial(broker.judge_keys, 9_999), OK),
        (partial(broker.judge_keys, 10_000), LOOK),
        (partial(work.judge_living, 0), ACT),
        (partial(work.judge_living, 1), OK),
        (partial(work.judge_died, 1), LOOK),
        (partial(work.judge_served, {"celery": 1, "scheduled": 0}), ACT),
        (partial(work.judge_served, {"celery": 1, "scheduled": 1}), OK),
        (partial(work.judge_waiting, replace(WORK, due=9, oldest_seconds=59.0)), OK),
        (partial(work.judge_waiting, replace(WORK, due=9, oldest_seconds=60.0)), LOOK),
        (partial(work.judge_waiting, replace(WORK, due=9, oldest_seconds=3600.0)), ACT),
        (partial(work.judge_relays, 0), ACT),
        (partial(work.judge_keeper, kept=False), ACT),
        (partial(work.judge_failed, 0, 100), OK),
        (partial(work.judge_failed, 1, 100), LOOK),
        (partial(_alerts, 30.0, 0), OK),
        (partial(_alerts, 61.0, 1), LOOK),
        (partial(_alerts, 3600.0, 1), ACT),
        (partial(_alerts, None, 0, given_up=1), LOOK),
        (partial(work.judge_schedule, {}), LOOK),
        (partial(work.judge_schedule, {"freshness_check_task": 119.0}), OK),
        (partial(work.judge_schedule, {"freshness_check_task": 120.0}), LOOK),
        (partial(work.judge_schedule, {"freshness_check_task": 900.0, "retention_task": 1e9}), ACT),
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
    check = sessions.judge_waits(waits)
    assert check.figure == "2 sessions, the longest for 5s"
    assert check.commands == ["SELECT pg_terminate_backend(2);"]


def test_an_index_of_watcher_is_never_to_be_dropped() -> None:
    own = replace(INDEX, name="ix_pipeline_execution_baseline")
    check = storage.judge_unused([INDEX, own, replace(INDEX, name='odd "name"')], WEEK)
    assert check.commands == [
        "DROP INDEX CONCURRENTLY ix_custom;",
        'DROP INDEX CONCURRENTLY "odd ""name""";',
    ]


def test_the_gravest_verdict_counts() -> None:
    assert gravest([]) is OK
    assert gravest([OK, Verdict.UNKNOWN]) is Verdict.UNKNOWN
    assert gravest([LOOK, ACT, Verdict.UNKNOWN]) is ACT
