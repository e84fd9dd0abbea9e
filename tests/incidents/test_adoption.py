"""What is wrong when Watcher is upgraded becomes incidents, with one message for all of it."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from alembic import command
from alembic.config import Config
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Engine, NullPool, create_engine, text

from tests.conftest import create_database, database_named
from tests.incidents.passing import incidents, sweep, told, wait
from tests.incidents.records import events
from watcher_server.anomalies.detection import detect_anomalies
from watcher_server.database import migrate as migrations
from watcher_server.database.engine import sqlalchemy_url
from watcher_server.freshness.service import check_freshness
from watcher_server.incidents.failing import judge_failure
from watcher_server.missed_runs.service import check_schedules
from watcher_server.timeliness.service import check_timeliness

# Pipelines by what is wrong with them; the second half is the same, but muted, inactive or past.
WRONG = """
INSERT INTO pipeline_type (name) VALUES ('load');
INSERT INTO pipeline (name, pipeline_type_id) VALUES
    ('failing', 1), ('late', 1), ('stale', 1), ('missed', 1), ('anomalous', 1),
    ('failing, inactive', 1), ('late, muted', 1), ('stale, muted', 1), ('missed, muted', 1),
    ('anomalous, unwatched', 1), ('missed, but started', 1), ('missed by a schedule that is gone', 1), ('well', 1);
UPDATE pipeline SET active = false WHERE name LIKE '%inactive';
UPDATE pipeline SET mute_freshness_check = true, mute_timeliness_check = true WHERE name LIKE '%muted';
UPDATE pipeline SET freshness_number = 1, freshness_datepart = 'hour', last_target_insert = now() - interval '2 hours'
    WHERE name LIKE 'stale%';
UPDATE pipeline SET timeliness_number = 10, timeliness_datepart = 'minute' WHERE name LIKE 'late%';
UPDATE pipeline SET schedule = '0 * * * *', expected_next_run = date_trunc('hour', now()) + interval '1 hour',
    last_missed_run = CASE WHEN name NOT LIKE '%gone' THEN date_trunc('hour', now()) - interval '1 hour' END
    WHERE name LIKE 'missed%';
INSERT INTO pipeline_execution
        (pipeline_id, start_date, end_date, date_recorded, hour_recorded, completed_successfully, total_rows,
        anomaly_flags)
    SELECT id, began, began + interval '1 minute', began::date, 1, name NOT LIKE 'failing%' OR days > 1, 100,
        CASE WHEN days = 1 AND name LIKE 'anomalous%' THEN '{"total_rows": true}'::jsonb ELSE '{}' END
    FROM pipeline, generate_series(1, 9) AS days, LATERAL (SELECT now() - make_interval(days => days)) AS at (began);
UPDATE pipeline_execution SET end_date = now() - interval '5 minutes' WHERE NOT completed_successfully;
INSERT INTO pipeline_execution (pipeline_id, start_date, date_recorded, hour_recorded)
    SELECT id, now() - CASE WHEN name LIKE 'late%' THEN interval '30 minutes' ELSE interval '1 minute' END,
        now()::date, 1
    FROM pipeline WHERE name LIKE 'late%' OR name LIKE '%started';
INSERT INTO timeliness_pipeline_execution_log (pipeline_execution_id, pipeline_id, duration_seconds, seconds_threshold,
        execution_status, timely_number, timely_datepart, used_child_config, severity)
    SELECT execution.id, pipeline_id, 1200, 600, 'running', 10, 'minute', true, 'failure'
    FROM pipeline_execution AS execution JOIN pipeline ON pipeline.id = pipeline_id
    WHERE name LIKE 'late%' AND end_date IS NULL;
INSERT INTO freshness_pipeline_log
        (pipeline_id, last_dml_timestamp, freshness_number, freshness_datepart, used_child_config, severity)
    SELECT id, last_target_insert, 1, 'hour', true, 'failure' FROM pipeline WHERE name LIKE 'stale%';
INSERT INTO missed_run_log (pipeline_id, expected_at, schedule, schedule_timezone, schedule_grace_minutes)
    SELECT id, date_trunc('hour', now()) - make_interval(hours => hours), '0 * * * *', 'UTC', 10
    FROM pipeline, generate_series(1, 3) AS hours WHERE name LIKE 'missed%';
INSERT INTO anomaly_detection_rule (pipeline_id, metric_field, active, seasonality, minimum_executions)
    SELECT id, 'total_rows', name = 'anomalous', 'none', 5 FROM pipeline WHERE name LIKE 'anomalous%';
INSERT INTO anomaly_event (rule_id, pipeline_id, metric_field, direction, first_execution_id, last_execution_id,
        started_at, last_at, execution_count, alerted)
    SELECT rule.id, rule.pipeline_id, 'total_rows', 'low', execution.id, execution.id, end_date, end_date, 1, true
    FROM anomaly_detection_rule AS rule JOIN pipeline_execution AS execution USING (pipeline_id)
    WHERE anomaly_flags <> '{}';
INSERT INTO anomaly_detection_result (rule_id, pipeline_execution_id, event_id, metric_field, violation_value, z_score,
        historical_mean, historical_std, z_threshold, lower_bound, upper_bound, execution_count, context)
    SELECT rule_id, first_execution_id, id, 'total_rows', 100, -9, 1000, 1, 3, 970, 1030, 8, '{}' FROM anomaly_event;
INSERT INTO queue_alert_state (queue, level, changed_at) VALUES ('celery', 'WARNING', now() - interval '1 hour'),
    ('scheduled', NULL, now());
"""


@pytest.fixture
def before(worker_id: str) -> Iterator[Engine]:
    """A database as it was before there were incidents."""
    url = create_database(f"watcher_adoption_{worker_id}", "template0")
    engine = create_engine(sqlalchemy_url(url), poolclass=NullPool, connect_args={"options": "-c timezone=UTC"})
    with engine.begin() as connection:
        config: Config = migrations._config()  # noqa: SLF001 - where the migrations are
        config.attributes["connection"] = connection
        command.upgrade(config, "0016")
    yield engine
    engine.dispose()


def upgrade(engine: Engine) -> None:
    name = conninfo_to_dict(str(engine.url.query["conninfo"]))["dbname"]
    migrations.migrate(database_named(str(name)))


def check(engine: Engine) -> None:
    """All checks, a judgement of what fails, and a sweep."""
    with engine.begin() as connection:
        check_timeliness(connection, 60, alert_max_age_hours=24)
    with engine.begin() as connection:
        check_freshness(connection)
    with engine.begin() as connection:
        check_schedules(connection, datetime.now(UTC), alert_max_age_hours=24)
    with engine.begin() as connection:
        judge_failure(connection, 1, alert_max_age_hours=24)
    sweep(engine)


def test_what_is_wrong_is_adopted_once_and_told_in_one_message(before: Engine) -> None:
    with before.begin() as connection:
        connection.exec_driver_sql(WRONG.replace("%", "%%"))
    upgrade(before)

    found = incidents(before)
    assert sorted((incident["kind"], incident["pipeline_id"]) for incident in found if incident["pipeline_id"]) == [
        ("anomalous", 5), ("failing", 1), ("late", 2), ("missed", 4), ("stale", 3),
    ]  # fmt: skip
    by_kind = {incident["kind"]: incident for incident in found}
    assert (by_kind["queue"]["subject"], by_kind["queue"]["level"]) == ("celery", "WARNING")
    assert (by_kind["missed"]["count"], by_kind["failing"]["level"]) == (3, "ERROR")
    message = (
        "INFO From now on Watcher keeps what is wrong as incidents, and says when each is over - 6 are open already"
    )
    assert told(before) == [message]
    with before.connect() as connection:
        assert [change for change, _, _ in events(connection, found[0]["id"])] == ["opened"]

    for _ in range(2):
        check(before)
        wait(before, minutes=3)

    assert told(before) == [message]
    assert [incident["state"] for incident in incidents(before)] == ["open"] * 6


def test_the_end_of_what_was_adopted_is_told(before: Engine) -> None:
    with before.begin() as connection:
        connection.exec_driver_sql(WRONG.replace("%", "%%"))
    upgrade(before)
    with before.begin() as connection:
        connection.exec_driver_sql("""
            UPDATE pipeline SET last_target_insert = now() WHERE name = 'stale';
            UPDATE pipeline_execution SET end_date = now(), completed_successfully = true WHERE end_date IS NULL;
            INSERT INTO pipeline_execution (pipeline_id, start_date, end_date, date_recorded, hour_recorded,
                completed_successfully, total_rows)
            SELECT id, now() - interval '1 minute', now(), now()::date, 1, true, 100 FROM pipeline;
        """)
        latest = connection.scalar(text("SELECT max(id) FROM pipeline_execution WHERE pipeline_id = 5"))
        detect_anomalies(connection, 5, latest or 0, alert_max_age_hours=24)
    check(before)
    wait(before, minutes=3)

    assert sorted(told(before)[1:]) == [
        "RESOLVED Pipeline 'anomalous' (ID: 5) usual again",
        "RESOLVED Pipeline 'failing' (ID: 1) succeeded again",
        "RESOLVED Pipeline 'late' (ID: 2) late no more",
        "RESOLVED Pipeline 'missed' (ID: 4) started again",
        "RESOLVED Pipeline 'stale' (ID: 3) fresh again",
    ]


def test_where_nothing_is_wrong_nothing_is_told(before: Engine) -> None:
    upgrade(before)

    assert (incidents(before), told(before)) == ([], [])
