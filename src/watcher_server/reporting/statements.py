"""The parts that the statements about the daily figures share: the figures, and the common table expressions.

``CHOSEN``, then a period, then ``DAILY``: which pipelines ran on which days. Summed days are read by the primary keys
of the sums and the changes. Later days, and days before ``summed_since`` that were never summed, are read by
ix_pipeline_execution_pipeline_id_start_date, one seek for each day and pipeline, so the cost does not depend on the
number of executions. LIMIT 1 keeps PostgreSQL from turning the seeks into joins, which would read all sums, or all
executions.
"""

# The columns of daily_pipeline_metric beside its key, and in the same order what they are. A run that was aborted, or
# is tried again, is one of all, and neither one that failed nor one that succeeded.
FIGURE_COLUMNS = """total_executions, ended_executions, failed_executions,
    inserts, updates, soft_deletes, total_rows, duration_seconds, measured_durations"""
FIGURES = """count(*) AS total_executions,
        count(end_date) FILTER (WHERE outcome IS NULL OR outcome = 'lost') AS ended_executions,
        count(*) FILTER (
            WHERE end_date IS NOT NULL AND NOT completed_successfully AND (outcome IS NULL OR outcome = 'lost')
        ) AS failed_executions,
        sum(inserts) AS inserts,
        sum(updates) AS updates,
        sum(soft_deletes) AS soft_deletes,
        sum(total_rows) AS total_rows,
        sum(duration_seconds) AS duration_seconds,
        count(duration_seconds) AS measured_durations"""

# A name that a pipeline (or type) has exactly means this one; any other text is a part of names.
MATCHES = """pipeline.archived_at IS NULL AND (CAST(:pipeline AS text) IS NULL OR pipeline.name = :pipeline
            OR pipeline.name LIKE :pipeline_part AND NOT EXISTS (SELECT FROM pipeline WHERE name = :pipeline))
        AND (CAST(:type AS text) IS NULL OR pipeline_type.name = :type
            OR pipeline_type.name LIKE :type_part AND NOT EXISTS (SELECT FROM pipeline_type WHERE name = :type))"""

CHOSEN = f"""chosen AS MATERIALIZED (
    SELECT pipeline.id, pipeline.name AS pipeline_name,
        coalesce(pipeline.display_name, pipeline.name) AS pipeline_shown, pipeline_type.name AS pipeline_type_name,
        row_number() OVER (ORDER BY pipeline.name) AS place
    FROM pipeline JOIN pipeline_type ON pipeline_type.id = pipeline.pipeline_type_id
    WHERE {MATCHES}
)"""  # noqa: S608 - code

_PERIOD = """period AS MATERIALIZED (
    SELECT {days},
        least(today, coalesce((SELECT summed_before FROM daily_pipeline_metric_progress), '-infinity'))
            AS summed_before,
        coalesce((SELECT summed_since FROM daily_pipeline_metric_progress), 'infinity') AS summed_since
    FROM (SELECT (now() AT TIME ZONE 'UTC')::date) AS clock (today)
)"""
DAYS_UP_TO_TODAY = _PERIOD.format(days="today - CAST(:days AS integer) + 1 AS first_day, today AS last_day")
DAYS_BETWEEN = _PERIOD.format(days="CAST(:first_day AS date) AS first_day, CAST(:last_day AS date) AS last_day")

# Restricts a table of days to the summed days of the period, by its index.
IN_SUMMED_DAYS = """{table}.date_recorded >= (SELECT first_day FROM period)
        AND {table}.date_recorded <= (SELECT last_day FROM period)
        AND {table}.date_recorded < (SELECT summed_before FROM period)"""

DAILY = f"""daily AS MATERIALIZED (
    SELECT metric.date_recorded, metric.pipeline_id, chosen.place
    FROM daily_pipeline_metric AS metric JOIN chosen ON chosen.id = metric.pipeline_id
    WHERE {IN_SUMMED_DAYS.format(table="metric")}
    UNION ALL
    SELECT change.date_recorded, change.pipeline_id, chosen.place
    FROM daily_pipeline_metric_change AS change JOIN chosen ON chosen.id = change.pipeline_id
    WHERE {IN_SUMMED_DAYS.format(table="change")}
        AND NOT EXISTS (
            SELECT FROM daily_pipeline_metric AS metric
            WHERE metric.date_recorded = change.date_recorded AND metric.pipeline_id = change.pipeline_id)
    UNION ALL
    SELECT day::date, chosen.id, chosen.place
    FROM period
    CROSS JOIN LATERAL (
        SELECT day FROM generate_series(first_day::timestamp, last_day, interval '1 day') AS day
        WHERE day < summed_since OR day >= summed_before
    ) AS days
    CROSS JOIN chosen
    CROSS JOIN LATERAL (
        SELECT FROM pipeline_execution
        WHERE pipeline_id = chosen.id
            AND start_date >= day AT TIME ZONE 'UTC' AND start_date < (day + interval '1 day') AT TIME ZONE 'UTC'
        LIMIT 1
    ) AS ran
    WHERE day >= summed_before OR NOT EXISTS (
            SELECT FROM daily_pipeline_metric WHERE date_recorded = day AND pipeline_id = chosen.id)
        AND NOT EXISTS (SELECT FROM daily_pipeline_metric_change WHERE date_recorded = day AND pipeline_id = chosen.id)
)"""  # noqa: S608 - code

# The figures of the days and pipelines in ``wanted``: by the primary key of the sums, or where they are not summed or
# have changed since, from the executions.
FIGURES_OF_WANTED = f"""figures AS (
    SELECT wanted.*, counted.*
    FROM wanted
    LEFT JOIN LATERAL (
        SELECT metric.* FROM daily_pipeline_metric AS metric
        WHERE metric.date_recorded = wanted.date_recorded AND metric.pipeline_id = wanted.pipeline_id
            AND wanted.date_recorded < (SELECT summed_before FROM period)
            AND NOT EXISTS (
                SELECT FROM daily_pipeline_metric_change AS change
                WHERE change.date_recorded = wanted.date_recorded AND change.pipeline_id = wanted.pipeline_id)
        LIMIT 1
    ) AS metric ON true
    CROSS JOIN LATERAL (
        SELECT {FIGURE_COLUMNS} FROM (SELECT metric.*) AS summed WHERE pipeline_id IS NOT NULL
        UNION ALL
        SELECT {FIGURES} FROM pipeline_execution AS execution
        WHERE metric.pipeline_id IS NULL AND execution.pipeline_id = wanted.pipeline_id
            AND start_date >= wanted.date_recorded::timestamp AT TIME ZONE 'UTC'
            AND start_date < (wanted.date_recorded + 1)::timestamp AT TIME ZONE 'UTC'
        GROUP BY execution.pipeline_id
    ) AS counted
)"""  # noqa: S608 - code

# A row of the report, of ``figures`` joined to ``chosen``.
ROW = """date_recorded, pipeline_name, pipeline_type_name, total_executions, failed_executions,
    coalesce(round(100.0 * failed_executions / nullif(ended_executions, 0), 2), 0) AS error_percentage,
    coalesce(inserts, 0) AS daily_inserts, coalesce(updates, 0) AS daily_updates,
    coalesce(soft_deletes, 0) AS daily_soft_deletes, coalesce(total_rows, 0) AS daily_total_rows,
    round(duration_seconds / nullif(measured_durations, 0), 2) AS avg_duration_seconds,
    CASE WHEN duration_seconds = 0 AND total_rows IS NOT NULL THEN 0
        ELSE round(total_rows / nullif(duration_seconds, 0), 4) END AS daily_throughput"""
