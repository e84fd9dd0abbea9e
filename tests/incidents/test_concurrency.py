"""Checks, judgements and the sweep at once: none waits for ever for another, and none opens a second incident."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import chain, repeat

from sqlalchemy import Connection, Engine, text

from tests.incidents.passing import incidents
from tests.support.rows import add_history, add_pipeline, add_rule, add_run, ago
from watcher_server.anomalies.detection import detect_anomalies
from watcher_server.freshness.service import check_freshness
from watcher_server.incidents.failing import judge_failure
from watcher_server.incidents.sweep import sweep_incidents, tell_resolved
from watcher_server.incidents.watcher import check_watcher
from watcher_server.missed_runs.service import check_schedules
from watcher_server.settings import load_settings
from watcher_server.timeliness.service import check_timeliness

PIPELINES = range(1, 13)
SETTINGS = load_settings()

Work = Callable[[Connection], object]


def build(engine: Engine) -> list[int]:
    """Pipelines that are late and stale, missed a run, failed, and have a run to judge that is out of range."""
    due = datetime.now(UTC).replace(second=0, microsecond=0)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO address_type (name, group_name) VALUES ('table', 'database')"))
        connection.execute(text("INSERT INTO address (name, address_type_id) VALUES ('from', 1), ('into', 1)"))
        for number in PIPELINES:
            add_pipeline(
                connection, f"pipeline {number}", freshness_number=1, freshness_datepart="hour",
                timeliness_number=10, timeliness_datepart="minute", created_at=ago(days=9),
                schedule="* * * * *", schedule_grace_minutes=1, expected_next_run=due, overlap="expected",
                due_since=ago(days=1),
            )  # fmt: skip
            add_rule(connection, number, seasonality="none", new_normal_after=None)
            edge = """
                INSERT INTO address_lineage (pipeline_id, source_address_id, target_address_id) VALUES (:id, 1, 2)
            """
            connection.execute(text(edge), {"id": number})
            add_history(connection, number, [1000] * 6)
            add_run(connection, number, start_date=ago(minutes=20), end_date=None)
        judged = [add_run(connection, number, total_rows=1, end_date=ago(minutes=30)) for number in PIPELINES]
        for number in PIPELINES:
            add_run(connection, number, end_date=ago(minutes=10), completed_successfully=False)
        connection.execute(text("UPDATE pipeline SET expected_next_run = expected_next_run - interval '3 minutes'"))
    return judged


def judge_run(pipeline_id: int, run_id: int) -> Work:
    return lambda connection: detect_anomalies(connection, pipeline_id, run_id, alert_max_age_hours=24)


def judge_failed(pipeline_id: int) -> Work:
    return lambda connection: judge_failure(connection, pipeline_id, alert_max_age_hours=24)


def test_at_once_they_open_one_of_each_kind(engine: Engine) -> None:
    judged = build(engine)
    checks: list[Work] = [
        check_freshness,
        lambda connection: check_timeliness(connection, 60, alert_max_age_hours=24),
        lambda connection: check_schedules(connection, datetime.now(UTC), alert_max_age_hours=24),
        lambda connection: sweep_incidents(connection, SETTINGS),
        lambda connection: tell_resolved(connection, SETTINGS),
        lambda connection: check_watcher(connection, SETTINGS),
    ]
    judgements = [judge_run(number, run_id) for number, run_id in zip(PIPELINES, judged, strict=True)]
    work = [*chain(*repeat(checks, 4)), *judgements, *judgements, *map(judge_failed, chain(PIPELINES, PIPELINES))]
    # Kinds take turns, so that all of them are at it at once.
    turns = sorted(range(len(work)), key=lambda place: place % 11)

    def do(place: int) -> None:
        with engine.begin() as connection:
            work[place](connection)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(do, turns))

    found = incidents(engine)
    assert Counter((incident["kind"], incident["pipeline_id"]) for incident in found).most_common(1)[0][1] == 1
    assert Counter(incident["kind"] for incident in found) == Counter(
        dict.fromkeys(("failing", "late", "stale", "missed", "anomalous"), len(PIPELINES))
    )
