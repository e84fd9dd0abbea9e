"""Every schema that was ever released can be brought to this version's, with what is in it."""

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, NullPool, create_engine, text

from tests.conftest import create_database
from tests.support.rows import add_pipeline, add_run, ago
from tests.support.slack import slack_sink
from watcher_server.alerts.delivery import deliver_alert
from watcher_server.database import migrate as migrations
from watcher_server.database.engine import sqlalchemy_url
from watcher_server.settings import load_settings

SCRIPTS = ScriptDirectory.from_config(migrations._config())  # noqa: SLF001 - where the migrations are
REVISIONS = sorted(script.revision for script in SCRIPTS.walk_revisions())

# What the first schema had already.
FILL = """
INSERT INTO pipeline_type (name, freshness_number, freshness_datepart) VALUES ('load', 1, 'day');
INSERT INTO pipeline (name, pipeline_type_id, watermark, last_target_insert, fingerprint)
    SELECT 'pipeline ' || number, 1, number::text, now() - make_interval(hours => number), md5(number::text)
    FROM generate_series(1, 20) AS number;
INSERT INTO pipeline_execution (pipeline_id, start_date, date_recorded, hour_recorded, end_date, completed_successfully,
    duration_seconds, total_rows)
    SELECT pipeline.id, moment, moment::date, extract(hour FROM moment), moment + interval '1 minute', number % 7 > 0,
        60, 100
    FROM pipeline, generate_series(1, 50) AS number,
        LATERAL (SELECT now() - make_interval(hours => number)) AS at (moment);
INSERT INTO pipeline_execution_closure SELECT id, id, 0 FROM pipeline_execution;
INSERT INTO address_type (name, group_name) VALUES ('postgres', 'database');
INSERT INTO address (name, address_type_id) SELECT 'table ' || number, 1 FROM generate_series(1, 21) AS number;
INSERT INTO address_lineage (pipeline_id, source_address_id, target_address_id) SELECT id, id, id + 1 FROM pipeline;
INSERT INTO address_lineage_closure SELECT id, id, 0, ARRAY[id] FROM address;
INSERT INTO anomaly_detection_rule (pipeline_id, metric_field) SELECT id, 'total_rows' FROM pipeline;
INSERT INTO freshness_pipeline_log (pipeline_id, last_dml_timestamp, freshness_number, freshness_datepart,
    used_child_config) SELECT id, last_target_insert, 1, 'day', false FROM pipeline;
INSERT INTO alert (dedupe_key, level, title, message) SELECT 'alert ' || id, 'WARNING', 'Anomaly Detection', name
    FROM pipeline;
INSERT INTO api_token (name, scope, token_hash) VALUES ('first', 'admin', '\\x00');
"""
COUNTED = """
SELECT (SELECT count(*) FROM pipeline), (SELECT count(*) FROM pipeline_execution WHERE total_rows = 100),
    (SELECT count(*) FROM pipeline_execution_closure), (SELECT count(*) FROM address_lineage),
    (SELECT count(*) FROM anomaly_detection_rule WHERE z_threshold = 3), (SELECT count(*) FROM freshness_pipeline_log),
    (SELECT count(*) FROM alert), (SELECT name FROM api_token),
    (SELECT watermark FROM pipeline WHERE name = 'pipeline 7')
"""


def _upgrade(url: str, revision: str) -> None:
    with create_engine(sqlalchemy_url(url), poolclass=NullPool).begin() as connection:
        config: Config = migrations._config()  # noqa: SLF001 - the same
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


@pytest.mark.parametrize("revision", REVISIONS)
def test_what_an_older_schema_holds_is_there_after_the_upgrade(revision: str, worker_id: str) -> None:
    url = create_database(f"watcher_upgrade_{worker_id}", "template0")
    _upgrade(url, revision)
    with psycopg.connect(url) as connection:
        connection.execute(FILL)

    migrations.migrate(url)

    with psycopg.connect(url) as connection:
        assert connection.execute(COUNTED).fetchone() == (20, 1000, 1000, 20, 20, 20, 20, "first", "7")
    assert migrations.is_current(url)


# The first has its accent as a character of its own, and the second too; the third has it as one with its letter.
ACCENTS = """
INSERT INTO pipeline_type (name) VALUES (U&'e\\0301t\\00e9');
INSERT INTO pipeline (name, pipeline_type_id) VALUES (U&'cafe\\0301', 1), (U&'pate\\0301', 1), (U&'caf\\00e9', 1);
INSERT INTO address_type (name, group_name) VALUES ('postgres', 'database');
INSERT INTO address (name, address_type_id) VALUES (U&'a\\0323\\0307', 1), (U&'a\\0307\\0323', 1);
"""


def test_names_get_one_form_and_two_that_look_alike_are_both_kept(worker_id: str) -> None:
    url = create_database(f"watcher_upgrade_{worker_id}", "template0")
    _upgrade(url, "0019")
    with psycopg.connect(url) as connection:
        connection.execute(ACCENTS)

    migrations.migrate(url)

    with psycopg.connect(url) as connection:
        pipelines = connection.execute("SELECT name FROM pipeline ORDER BY id").fetchall()
        addresses = connection.execute("SELECT name FROM address ORDER BY id").fetchall()
        types = connection.execute("SELECT name FROM pipeline_type").fetchall()
    assert pipelines == [("caf\u00e9~1",), ("pat\u00e9",), ("caf\u00e9",)]
    assert addresses == [("\u1ea1\u0307",), ("\u1ea1\u0307~2",)]
    assert types == [("\u00e9t\u00e9",)]


# Delivered, given up by now, and still to be sent.
ALERTS = """
INSERT INTO alert (dedupe_key, level, title, message, created_at, delivered_at, delivered_to, attempts, last_error)
VALUES ('a', 'INFO', 't', 'm', now() - interval '2 days', now() - interval '1 day', 'slack', 2, NULL),
    ('b', 'INFO', 't', 'm', now() - interval '25 hours', NULL, NULL, 8, 'Slack answered with status 503'),
    ('c', 'INFO', 't', 'm', now() - interval '1 hour', NULL, NULL, 1, 'Slack answered with status 503');
INSERT INTO outbox (task_name, kwargs, queue) VALUES ('deliver_alert_task', '{"alert_id": 3}', 'scheduled');
"""
DELIVERIES = """
SELECT alert_id, channel, state, sent_to, attempts, last_error, sent_at IS NULL, next_try_at = created_at
FROM notification ORDER BY id
"""


def test_alerts_keep_what_is_known_of_their_delivery_and_only_young_ones_are_sent(worker_id: str) -> None:
    url = create_database(f"watcher_upgrade_{worker_id}", "template0")
    _upgrade(url, "0016")
    with psycopg.connect(url) as connection:
        connection.execute(ALERTS)

    migrations.migrate(url)

    error = "Slack answered with status 503"
    with psycopg.connect(url) as connection:
        assert connection.execute(DELIVERIES).fetchall() == [
            (1, "default", "sent", "slack", 2, None, False, True),
            (2, "default", "given_up", None, 8, error, True, True),
            (3, "default", "waiting", None, 1, error, True, True),
        ]
    engine = create_engine(sqlalchemy_url(url), poolclass=NullPool)
    with slack_sink() as slack:
        delivery = deliver_alert(engine, 3, load_settings(slack_webhook_url=slack.url), seconds=10)
    assert (delivery.sent_to, len(slack.texts)) == ("slack", 1)


# A run that is over, one that runs, and one of before.
FUTURES = """
INSERT INTO pipeline_type (name) VALUES ('load');
INSERT INTO pipeline (name, pipeline_type_id, watermark, watermark_start_date, last_target_insert)
    VALUES ('ahead', 1, 'pinned', '9999-01-01Z', now() + interval '1 year'),
        ('right', 1, 'kept', now() - interval '1 day', now() - interval '1 day');
INSERT INTO pipeline_execution (pipeline_id, start_date, date_recorded, hour_recorded, end_date, duration_seconds)
    VALUES (1, now() + interval '9 hours', '9999-01-01', 0, now() + interval '10 hours', 3600),
        (1, '9999-01-01Z', '9999-01-01', 0, NULL, NULL),
        (2, now() - interval '1 hour', '2026-01-01', 0, now() - interval '1 minute', 3540);
"""


def test_runs_that_lay_in_the_future_count_from_the_upgrade_and_hold_nothing(worker_id: str) -> None:
    url = create_database(f"watcher_upgrade_{worker_id}", "template0")
    _upgrade(url, "0020")
    with psycopg.connect(url) as connection:
        connection.execute(FUTURES)

    migrations.migrate(url)

    with psycopg.connect(url) as connection:
        assert connection.execute("""
            SELECT start_date <= now(), (end_date <= now()) IS NOT FALSE, start_skew > '8 hours', end_skew > '9 hours',
                date_recorded = (start_date AT TIME ZONE 'UTC')::date, duration_seconds
            FROM pipeline_execution ORDER BY id
        """).fetchall() == [
            (True, True, True, True, True, 3600),
            (True, True, True, None, True, None),
            (True, True, None, None, False, 3540),
        ]
        assert connection.execute("""
            SELECT watermark, watermark_start_date IS NULL, last_target_insert <= now(), last_target_update
            FROM pipeline ORDER BY id
        """).fetchall() == [("pinned", True, True, None), ("kept", False, True, None)]


def test_every_step_since_the_last_release_can_be_taken_back_and_again(engine: Engine) -> None:
    view = text("SELECT pg_get_viewdef('pipeline_effective'::regclass)")
    with engine.connect() as connection:
        add_run(connection, add_pipeline(connection, archived_at=ago()), outcome="lost", backfill=True)
        before = connection.scalar(view)
        config: Config = migrations._config()  # noqa: SLF001 - the same
        config.attributes["connection"] = connection

        command.downgrade(config, "0019")
        assert connection.scalar(text("SELECT name FROM pipeline_effective")) == "orders"
        command.upgrade(config, "head")

        assert connection.scalar(view) == before
        connection.rollback()
