"""The statements that apply a plan, each over all its rows at once, which come as one JSON text.

Pipelines are written before addresses, and each in the order of names, as everywhere: transactions with overlapping
rows wait for each other, and do not deadlock.
"""

from watcher_server.executions.clocks import MOST_AHEAD

# By the primary key: of several uploads of one file, one gets the row.
CLAIM_ARTIFACT = """
INSERT INTO dbt_artifact (invocation_id, kind, generated_at)
VALUES (:invocation_id, :kind, :generated_at)
ON CONFLICT DO NOTHING
RETURNING true
"""

CREATE_PIPELINE_TYPES = """
INSERT INTO pipeline_type (name)
SELECT DISTINCT wanted.type_name FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS wanted (type_name text)
WHERE NOT EXISTS (SELECT FROM pipeline_type WHERE pipeline_type.name = wanted.type_name)
ORDER BY wanted.type_name
ON CONFLICT (name) DO NOTHING
"""

# Where new pipelines get rules, these get the two that dbt's figures can be judged by.
CREATE_PIPELINES = """
WITH created AS (
    INSERT INTO pipeline (name, display_name, pipeline_type_id)
    SELECT wanted.name, wanted.display_name, pipeline_type.id
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS wanted (name text, display_name text, type_name text)
    JOIN pipeline_type ON pipeline_type.name = wanted.type_name
    WHERE NOT EXISTS (SELECT FROM pipeline WHERE pipeline.name = wanted.name)
    ORDER BY wanted.name
    ON CONFLICT (name) DO NOTHING
    RETURNING id
), ruled AS (
    INSERT INTO anomaly_detection_rule (pipeline_id, metric_field)
    SELECT id, metric_field FROM created CROSS JOIN unnest(ARRAY['duration_seconds', 'total_rows']) AS metric_field
    WHERE :with_rules
)
SELECT count(*) FROM created
"""

# What an upload names leaves the archive.
REVIVE = """
WITH pipelines AS (
    UPDATE pipeline SET archived_at = NULL
    FROM jsonb_to_recordset(CAST(:pipelines AS jsonb)) AS wanted (name text)
    WHERE pipeline.name = wanted.name AND archived_at IS NOT NULL RETURNING id
), addresses AS (
    UPDATE address SET archived_at = NULL
    FROM jsonb_to_recordset(CAST(:addresses AS jsonb)) AS wanted (name text)
    WHERE address.name = wanted.name AND archived_at IS NOT NULL RETURNING id
)
SELECT ARRAY(SELECT id FROM pipelines ORDER BY id) AS pipeline_ids,
    ARRAY(SELECT id FROM addresses ORDER BY id) AS address_ids
"""

# The edges that had left with an archived end are replaced, as those that are in force.
FORGET_ARCHIVED_EDGES = """
DELETE FROM archived_address_lineage WHERE origin = 'declared' AND pipeline_id IN (
    SELECT pipeline.id FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS edge (pipeline text)
    JOIN pipeline ON pipeline.name = edge.pipeline
)
"""

LOCK_PIPELINES = """
SELECT FROM pipeline JOIN jsonb_to_recordset(CAST(:rows AS jsonb)) AS wanted (name text) USING (name)
ORDER BY name FOR NO KEY UPDATE OF pipeline
"""

# `metadata` is what is stored. What dbt said the last time stands there below `dbt`, and goes; a note of somebody else,
# also one that replaced what dbt said, stays.
_MERGED = """
wanted.facts || coalesce(metadata - ARRAY(
    SELECT said.key
    FROM jsonb_each(CASE jsonb_typeof(metadata -> 'dbt') WHEN 'object' THEN metadata -> 'dbt' ELSE '{}' END) AS said
    WHERE metadata -> said.key = said.value
), '{}') || jsonb_build_object('dbt', wanted.facts || wanted.dbt)
"""

# A threshold that is not dbt's last one was set by somebody, and stays.
DESCRIBE_PIPELINES = f"""
WITH stored AS (
    SELECT pipeline.*, pipeline_metadata AS metadata FROM pipeline
), changed AS (
    SELECT stored.id, {_MERGED} AS metadata,
        CASE WHEN sets_limit THEN wanted.freshness_number ELSE stored.freshness_number END AS freshness_number,
        CASE WHEN sets_limit THEN wanted.freshness_datepart ELSE stored.freshness_datepart END AS freshness_datepart,
        CASE WHEN sets_warning THEN wanted.freshness_warning_number ELSE stored.freshness_warning_number END
            AS freshness_warning_number,
        CASE WHEN sets_warning THEN wanted.freshness_warning_datepart ELSE stored.freshness_warning_datepart END
            AS freshness_warning_datepart
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS wanted (
        name text, facts jsonb, dbt jsonb, freshness_number integer, freshness_datepart text,
        freshness_warning_number integer, freshness_warning_datepart text
    )
    JOIN stored USING (name)
    CROSS JOIN LATERAL (
        SELECT wanted.dbt ? 'thresholds' AND jsonb_build_array(stored.freshness_number, stored.freshness_datepart)
                = coalesce(metadata #> '{{dbt,thresholds,failure}}', '[null, null]') AS sets_limit,
            wanted.dbt ? 'thresholds'
                AND jsonb_build_array(stored.freshness_warning_number, stored.freshness_warning_datepart)
                = coalesce(metadata #> '{{dbt,thresholds,warning}}', '[null, null]') AS sets_warning
    ) AS owned
)
UPDATE pipeline SET
    pipeline_metadata = changed.metadata,
    freshness_number = changed.freshness_number,
    freshness_datepart = changed.freshness_datepart,
    freshness_warning_number = changed.freshness_warning_number,
    freshness_warning_datepart = changed.freshness_warning_datepart,
    updated_at = nullif(now(), created_at)
FROM changed
WHERE pipeline.id = changed.id AND (
    pipeline_metadata, pipeline.freshness_number, pipeline.freshness_datepart,
    pipeline.freshness_warning_number, pipeline.freshness_warning_datepart
) IS DISTINCT FROM (
    changed.metadata, changed.freshness_number, changed.freshness_datepart,
    changed.freshness_warning_number, changed.freshness_warning_datepart
)
"""  # noqa: S608 - the expression is a constant

# As at the end of a run: an old write that is told late does not turn the last one back, and what lies in the future
# counts from now on.
NOTE_WRITES = """
UPDATE pipeline SET
    last_target_update = greatest(
        least(last_write, now()), CASE WHEN last_target_update <= now() THEN last_target_update END
    )
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS wanted (name text, last_write timestamptz)
WHERE pipeline.name = wanted.name AND last_write IS NOT NULL
"""

LOCK_ADDRESSES = """
SELECT FROM address JOIN jsonb_to_recordset(CAST(:rows AS jsonb)) AS wanted (name text) USING (name)
ORDER BY name FOR NO KEY UPDATE OF address
"""

DESCRIBE_ADDRESSES = f"""
WITH changed AS (
    SELECT stored.id, {_MERGED} AS metadata
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS wanted (name text, facts jsonb, dbt jsonb)
    JOIN (SELECT id, name, address_metadata AS metadata FROM address) AS stored USING (name)
)
UPDATE address SET address_metadata = changed.metadata, updated_at = nullif(now(), created_at)
FROM changed WHERE address.id = changed.id AND address_metadata IS DISTINCT FROM changed.metadata
"""  # noqa: S608 - the expression is a constant

# Edges that stay are not touched, nor those that were only seen in events: by the unique index on (pipeline_id,
# source_address_id, target_address_id). NOT IN is one look into a hash table, where NOT EXISTS may compare each with
# each: the planner cannot guess how many there are.
REPLACE_EDGES = """
WITH wanted AS MATERIALIZED (
    SELECT DISTINCT pipeline.id AS pipeline_id, source.id AS source_address_id, target.id AS target_address_id
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS edge (pipeline text, source text, target text)
    JOIN pipeline ON pipeline.name = edge.pipeline
    JOIN address AS source ON source.name = edge.source
    JOIN address AS target ON target.name = edge.target
), removed AS (
    DELETE FROM address_lineage
    WHERE origin = 'declared' AND pipeline_id IN (SELECT pipeline_id FROM wanted)
        AND (pipeline_id, source_address_id, target_address_id) NOT IN (SELECT * FROM wanted)
    RETURNING source_address_id, target_address_id
), added AS (
    INSERT INTO address_lineage (pipeline_id, source_address_id, target_address_id)
    SELECT * FROM wanted
    WHERE NOT EXISTS (
        SELECT FROM address_lineage AS edge
        WHERE edge.pipeline_id = wanted.pipeline_id AND edge.source_address_id = wanted.source_address_id
            AND edge.target_address_id = wanted.target_address_id AND edge.origin = 'declared'
    )
    ORDER BY 1, 2, 3
    ON CONFLICT (pipeline_id, source_address_id, target_address_id)
        DO UPDATE SET origin = 'declared', last_seen_at = NULL WHERE address_lineage.origin <> 'declared'
    RETURNING source_address_id, target_address_id
)
SELECT source_address_id FROM removed UNION SELECT target_address_id FROM removed
UNION SELECT source_address_id FROM added UNION SELECT target_address_id FROM added
"""

# The database's clock, when a date of these runs lies further ahead of it than a wrong clock would.
TOO_FAR_AHEAD = f"""
SELECT max(greatest(started, ended)) AS latest, now()
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS run (started timestamptz, ended timestamptz)
HAVING max(greatest(started, ended)) > now() + interval '{MOST_AHEAD.days} day'
"""  # noqa: S608 - a constant

# As the start and the end of a run store it, in one, by one clock: the closure, the note for the daily figures, and the
# task that judges it. What was skipped is not judged, and a success only where a rule could judge it.
STORE_RUNS = """
WITH given AS (
    SELECT pipeline.id AS pipeline_id, run.*, started - ahead.by AS start_date, ended - ahead.by AS end_date,
        nullif(ahead.by, '0') AS skew, CASE WHEN is_timed THEN extract(epoch FROM ended - started) END AS seconds
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS run (
        pipeline text, started timestamptz, ended timestamptz, is_timed boolean, succeeded boolean, total_rows bigint,
        metadata jsonb
    )
    JOIN pipeline ON pipeline.name = run.pipeline
    CROSS JOIN LATERAL (SELECT greatest(ended - now(), '0')) AS ahead (by)
), stored AS (
    INSERT INTO pipeline_execution (
        pipeline_id, parent_id, start_date, start_skew, date_recorded, hour_recorded, end_date, end_skew,
        duration_seconds, completed_successfully, outcome, total_rows, throughput, execution_metadata
    )
    SELECT pipeline_id, CAST(:parent_id AS bigint), start_date, skew, CAST(start_date AT TIME ZONE 'UTC' AS date),
        extract(hour FROM start_date AT TIME ZONE 'UTC'), end_date, skew, round(seconds), succeeded,
        CASE WHEN metadata #>> '{dbt,status}' = 'skipped' THEN 'aborted' END, total_rows,
        CASE WHEN seconds = 0 AND total_rows IS NOT NULL THEN 0 ELSE round(total_rows / nullif(seconds, 0), 4) END,
        metadata
    FROM given ORDER BY started, pipeline_id
    RETURNING id, pipeline_id, parent_id, start_date, date_recorded, completed_successfully,
        outcome IS NULL AS is_judged
), closure AS (
    INSERT INTO pipeline_execution_closure (parent_execution_id, child_execution_id, depth)
    SELECT id, id, 0 FROM stored
    UNION ALL SELECT parent_id, id, 1 FROM stored WHERE parent_id IS NOT NULL
), noted AS (
    INSERT INTO daily_pipeline_metric_change AS change (date_recorded, pipeline_id)
    SELECT DISTINCT date_recorded, pipeline_id FROM stored WHERE start_date < date_trunc('day', now(), 'UTC')
    ORDER BY date_recorded, pipeline_id
    ON CONFLICT (date_recorded, pipeline_id) DO UPDATE SET pipeline_id = change.pipeline_id WHERE false
), queued AS (
    INSERT INTO outbox (task_name, queue, kwargs, context)
    SELECT CASE WHEN completed_successfully THEN 'detect_anomalies_task' ELSE 'judge_failure_task' END,
        CASE WHEN completed_successfully THEN 'celery' ELSE 'scheduled' END,
        jsonb_build_object('pipeline_id', pipeline_id, 'pipeline_execution_id', id), CAST(:context AS jsonb)
    FROM stored
    WHERE is_judged AND (NOT completed_successfully OR EXISTS (
        SELECT FROM anomaly_detection_rule AS rule WHERE rule.pipeline_id = stored.pipeline_id AND rule.active
    ))
    ORDER BY id
)
SELECT id FROM stored ORDER BY id LIMIT 1
"""
