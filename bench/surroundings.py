"""What a Watcher in use has besides executions: lineage, anomalies, alerts, incidents, tasks, samples, a tree."""

import psycopg

Connection = psycopg.Connection[tuple[int, ...]]

# Chains of twenty addresses, a pipeline on each step; and one address that feeds 480.
_LINEAGE = """
WITH kind AS (
    INSERT INTO address_type (name, group_name) VALUES ('bench table', 'database') RETURNING id
), address AS (
    INSERT INTO address (name, address_type_id)
    SELECT 'bench.schema_' || n / 20 || '.table_' || n, kind.id FROM kind, generate_series(0, %(pipelines)s) AS n
    ORDER BY n RETURNING id
), place AS (
    SELECT id, row_number() OVER (ORDER BY id) - 1 AS n FROM address
), edge AS (
    SELECT source.n + %(first)s AS pipeline_id, source.id AS source, target.id AS target
    FROM place AS source JOIN place AS target ON target.n = source.n + 1 AND target.n %% 20 <> 0
    UNION ALL
    SELECT %(first)s + 19, hub.id, target.id FROM place AS hub, place AS target
    WHERE hub.n = 0 AND target.n %% 20 = 10 AND target.n <= 20 * 480
), stored AS (
    INSERT INTO address_lineage (pipeline_id, source_address_id, target_address_id)
    SELECT pipeline_id, source, target FROM edge ON CONFLICT DO NOTHING
)
INSERT INTO address_lineage_closure (source_address_id, target_address_id, depth, lineage_path)
SELECT source.id, target.id, target.n - source.n,
    ARRAY(SELECT id FROM place WHERE n BETWEEN source.n AND target.n ORDER BY n)
FROM place AS source JOIN place AS target ON target.n BETWEEN source.n AND source.n + 19
    AND target.n / 20 = source.n / 20
"""

# One run of each of 2,000 pipelines per week is an anomaly.
_ANOMALIES = """
WITH rule AS (
    INSERT INTO anomaly_detection_rule (pipeline_id, metric_field, learning)
    SELECT %(first)s + n, 'total_rows', false FROM generate_series(0, 1999) AS n
    RETURNING id, pipeline_id
), flagged AS (
    SELECT rule.id AS rule_id, run.*
    FROM rule CROSS JOIN generate_series(0, 3) AS week CROSS JOIN LATERAL (
        SELECT id AS execution_id, pipeline_id, end_date, coalesce(total_rows, 0) AS value FROM pipeline_execution
        WHERE pipeline_execution.pipeline_id = rule.pipeline_id AND end_date IS NOT NULL
            AND start_date < now() - make_interval(days => 7 * week)
        ORDER BY start_date DESC LIMIT 1
    ) AS run
), event AS (
    INSERT INTO anomaly_event (rule_id, pipeline_id, metric_field, direction, first_execution_id, last_execution_id,
        started_at, last_at, execution_count, alerted)
    SELECT rule_id, pipeline_id, 'total_rows', 'low', execution_id, execution_id, end_date, end_date, 1, true
    FROM flagged RETURNING id, first_execution_id
), marked AS (
    UPDATE pipeline_execution SET anomaly_flags = '{"total_rows": true}'
    FROM flagged WHERE pipeline_execution.id = flagged.execution_id
)
INSERT INTO anomaly_detection_result (rule_id, pipeline_execution_id, metric_field, violation_value, z_score,
    historical_mean, historical_std, z_threshold, lower_bound, upper_bound, execution_count, context, event_id,
    detected_at)
SELECT DISTINCT ON (rule_id, execution_id) rule_id, execution_id, 'total_rows', value, -4, value * 3 + 100,
    value / 2 + 10, 3, value + 1, value * 5 + 200, 30, '{}', event.id, end_date
FROM flagged JOIN event ON event.first_execution_id = flagged.execution_id
"""

_ALERTS = """
WITH told AS (
    INSERT INTO alert (dedupe_key, level, title, message, details, created_at)
    SELECT 'bench:' || n, (ARRAY['INFO', 'WARNING', 'ERROR'])[1 + n %% 3], 'Anomaly Detection',
        'Anomalies Detected for Pipeline ''history ' || n || ''' (ID: ' || n || ') - Execution ID ' || n || ' flagged',
        '[["Total rows", "12 (expected 300 to 500)"]]', now() - make_interval(mins => 2 * (20000 - n))
    FROM generate_series(1, 20000) AS n
    RETURNING id, created_at
)
INSERT INTO notification (alert_id, channel, state, created_at, attempts, sent_at, sent_to)
SELECT id, 'default', 'sent', created_at, 1, created_at + interval '1 second', 'slack' FROM told
"""

# 1,000 that are not resolved, half of them because of ten others, and 10,000 that were resolved in the last month.
_INCIDENTS = """
WITH root AS (
    INSERT INTO incident (kind, pipeline_id, level, detail, since, opened_at, told_at)
    SELECT 'failing', %(first)s + n, 'ERROR', 'Execution ID 1: the connection timed out', moment, moment, moment
    FROM generate_series(0, 9) AS n, LATERAL (SELECT now() - make_interval(mins => 60 + n)) AS at (moment)
    RETURNING id
), numbered AS (
    SELECT id, row_number() OVER (ORDER BY id) - 1 AS number FROM root
), live AS (
    INSERT INTO incident (kind, pipeline_id, level, detail, since, opened_at, root_id, told_at, state, acknowledged_by)
    SELECT (ARRAY['stale', 'late', 'missed'])[1 + n %% 3], %(first)s + n, 'WARNING',
        'last DML 2026-11-01 00:00:00 UTC, expected every 1 day(s)', moment, moment, numbered.id,
        CASE WHEN n %% 2 = 1 THEN moment END, CASE WHEN n %% 5 = 1 THEN 'acknowledged' ELSE 'open' END,
        CASE WHEN n %% 5 = 1 THEN 'ada' END
    FROM generate_series(10, 999) AS n
    CROSS JOIN LATERAL (SELECT now() - make_interval(mins => n)) AS at (moment)
    LEFT JOIN numbered ON n %% 2 = 0 AND number = n / 2 %% 10
)
INSERT INTO incident (kind, pipeline_id, level, detail, since, opened_at, state, resolved_at, resolution)
SELECT 'late', %(first)s + n %% %(pipelines)s, 'WARNING', 'took 2h', moment, moment, 'resolved',
    moment + interval '20 minutes', 'auto'
FROM generate_series(1, 10000) AS n, LATERAL (SELECT now() - make_interval(mins => 30 + 4 * n)) AS at (moment)
"""

# What happened to each, and every other one with the alert that told of it.
_TOLD = """
WITH event AS (
    INSERT INTO incident_event (incident_id, at, change, actor, text)
    SELECT id, opened_at, change, 'watcher', CASE change WHEN 'told' THEN 'opened' END
    FROM incident, unnest(ARRAY['opened', 'told', 'acknowledged']) AS change
)
INSERT INTO alert_subject (alert_id, incident_id, pipeline_id)
SELECT alert.id, incident.id, incident.pipeline_id
FROM (SELECT *, row_number() OVER (ORDER BY id) AS n FROM incident WHERE id %% 2 = 0) AS incident
JOIN (SELECT *, row_number() OVER (ORDER BY id DESC) AS n FROM alert) AS alert USING (n)
"""

_TASKS = """
INSERT INTO task (id, name, kwargs, queue, state, meta, pipeline_id, pipeline_execution_id, created_at, published_at,
    started_at, finished_at, traceback)
SELECT gen_random_uuid(), 'detect_anomalies_task',
    jsonb_build_object('pipeline_id', pipeline_id, 'pipeline_execution_id', id), 'celery',
    CASE WHEN id %% 2000 = 0 THEN 'FAILURE' ELSE 'SUCCESS' END,
    CASE WHEN id %% 2000 = 0
        THEN '{"exc_type": "ValueError", "exc_message": ["out of range"], "exc_module": "builtins"}'
        ELSE '{"anomalies": 0}' END::jsonb,
    pipeline_id, id, end_date, end_date, end_date, end_date + interval '5 milliseconds',
    CASE WHEN id %% 2000 = 0 THEN 'Traceback (most recent call last): ...' END
FROM pipeline_execution WHERE start_date > now() - interval '7 days' AND completed_successfully
"""

_SAMPLES = """
INSERT INTO queue_depth_sample (queue, sampled_at, ready, unacknowledged, scheduled, outbox_pending, oldest_seconds)
SELECT queue, date_trunc('minute', now()) - make_interval(mins => n), floor(30 * random()), floor(4 * random()), 0,
    floor(5 * random()), random()
FROM unnest(ARRAY['celery', 'scheduled']) AS queue, generate_series(0, 7 * 1440) AS n
ON CONFLICT DO NOTHING
"""

# A run with 150 below it, three levels deep, in the last hours.
_TREE = """
WITH root AS (
    INSERT INTO pipeline_execution (pipeline_id, start_date, end_date, date_recorded, hour_recorded, duration_seconds,
        completed_successfully, total_rows, throughput)
    SELECT %(first)s, moment, moment + interval '2 hours', (moment AT TIME ZONE 'UTC')::date,
        extract(hour FROM moment AT TIME ZONE 'UTC'), 7200, true, 1000, 0.14
    FROM (SELECT now() - interval '3 hours') AS began (moment) RETURNING id, start_date
), child AS (
    INSERT INTO pipeline_execution (parent_id, pipeline_id, start_date, end_date, date_recorded, hour_recorded,
        duration_seconds, completed_successfully, total_rows, throughput)
    SELECT root.id, %(first)s + n, moment, moment + interval '30 seconds', (moment AT TIME ZONE 'UTC')::date,
        extract(hour FROM moment AT TIME ZONE 'UTC'), 30, n %% 40 <> 0, 10, 0.33
    FROM root, generate_series(1, 150) AS n,
        LATERAL (SELECT root.start_date + make_interval(secs => 40 * n)) AS at (moment)
    RETURNING id, parent_id
), pairs AS (
    SELECT id AS parent, id AS child, 0 AS depth FROM root
    UNION ALL SELECT id, id, 0 FROM child
    UNION ALL SELECT parent_id, id, 1 FROM child
), stored AS (
    INSERT INTO pipeline_execution_closure (parent_execution_id, child_execution_id, depth)
    SELECT parent, child, depth FROM pairs
)
SELECT id FROM root
"""


def fill_surroundings(connection: Connection, *, first_pipeline: int, pipelines: int) -> int:
    """Write them around pipelines of consecutive ids; the id of the execution that is a tree's root."""
    parameters = {"first": first_pipeline, "pipelines": pipelines}
    connection.execute("SET session_replication_role = replica")
    for statement in (_LINEAGE, _ANOMALIES, _ALERTS, _INCIDENTS, _TOLD, _TASKS, _SAMPLES):
        connection.execute(statement, parameters)
    root = connection.execute(_TREE, parameters).fetchone()
    assert root
    connection.execute("VACUUM ANALYZE")
    connection.execute("CHECKPOINT")
    return root[0]
