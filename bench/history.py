"""A history of executions as it would look after months of work, written in sets: ten million rows in minutes."""

import psycopg

# A run is as far into its chunk as its place in time, so the table lies on the disk in the order of start, as it would
# had the runs been reported one by one; a chunk is sorted in memory.
_CHUNK_ROWS = 100_000
_DEFAULT_SEED = 4

# Six of ten pipelines run daily, three hourly, one every ten minutes. These are proportions: how often each runs in
# the end follows from the number of executions that is asked for.
_PIPELINES = """
WITH kind AS (
    INSERT INTO pipeline_type (name) VALUES ('history: day'), ('history: hour'), ('history: minute')
    ON CONFLICT (name) DO UPDATE SET name = excluded.name
    RETURNING id, name
)
INSERT INTO pipeline (name, pipeline_type_id, load_lineage)
SELECT 'history ' || n, kind.id, false
FROM generate_series(1, %(pipelines)s) AS n
JOIN kind ON kind.name = 'history: ' || CASE WHEN n %% 10 = 0 THEN 'minute' WHEN n %% 10 >= 7 THEN 'hour' ELSE 'day' END
ORDER BY n
ON CONFLICT (name) DO UPDATE SET name = excluded.name
RETURNING id
"""

# Of each pipeline: how many runs are its own, and what is usual for it. The numbers of all add up to the total.
_PLAN = """
CREATE TEMPORARY TABLE history_plan AS
WITH weighed AS (
    SELECT pipeline.id, kind.step, kind.seconds,
        sum(kind.weight) OVER (ORDER BY pipeline.id) AS upto, kind.weight, sum(kind.weight) OVER () AS total
    FROM pipeline
    JOIN pipeline_type ON pipeline_type.id = pipeline.pipeline_type_id
    JOIN (VALUES ('history: day', 1, 86400, 1800), ('history: hour', 24, 3600, 600), ('history: minute', 144, 60, 30))
        AS kind (name, weight, step, seconds) ON kind.name = pipeline_type.name
    WHERE pipeline.id = ANY(%(ids)s)
)
SELECT id, step,
    round(%(executions)s * upto / total) - round(%(executions)s * (upto - weight) / total) AS runs,
    random() AS phase, random() * step AS offset_seconds,
    power(10, 2 + 4 * random()) AS usual_rows, seconds * (0.1 + 0.9 * random()) AS usual_seconds
FROM weighed
"""

# The share of time is the same number where one chunk ends and the next begins, so that no run is lost or doubled.
_CHUNK = """
WITH planned AS (
    SELECT plan.*, to_timestamp(plan.offset_seconds + plan.step * floor(
            (%(first)s + %(span)s * (k + plan.phase) / plan.runs - plan.offset_seconds) / plan.step)
        + 60 * random()) AS start_date
    FROM history_plan AS plan
    CROSS JOIN LATERAL generate_series(ceil(plan.runs * %(since)s::float8 - plan.phase)::bigint,
        ceil(plan.runs * %(until)s::float8 - plan.phase)::bigint - 1) AS k
    WHERE plan.runs > 0
), run AS (
    SELECT id AS pipeline_id, start_date, random() < %(failing)s AS failed,
        start_date + make_interval(secs => usual_seconds * greatest(0.2, 1 + 0.15 * random_normal())) AS end_date,
        round(usual_rows * greatest(0, 1 + 0.1 * random_normal())) AS total_rows
    FROM planned ORDER BY start_date
    OFFSET 0 -- or each random number would be drawn anew wherever it is used
), ended AS (
    SELECT *, end_date <= to_timestamp(%(first)s + %(span)s) AND random() >= %(stuck)s AS over,
        round(extract(epoch FROM end_date - start_date)) AS seconds
    FROM run OFFSET 0
), stored AS (
    INSERT INTO pipeline_execution
        (pipeline_id, start_date, date_recorded, hour_recorded, end_date, completed_successfully, duration_seconds,
        inserts, updates, soft_deletes, total_rows, throughput)
    SELECT pipeline_id, start_date, (start_date AT TIME ZONE 'UTC')::date,
        extract(hour FROM start_date AT TIME ZONE 'UTC'),
        CASE WHEN over THEN end_date END,
        CASE WHEN over THEN NOT failed END,
        CASE WHEN over THEN seconds END,
        CASE WHEN over AND NOT failed THEN total_rows - floor(total_rows * 0.3) END,
        CASE WHEN over AND NOT failed THEN floor(total_rows * 0.3) END,
        CASE WHEN over AND NOT failed AND pipeline_id %% 3 = 0 THEN floor(total_rows * 0.01) END,
        CASE WHEN over AND NOT failed THEN total_rows END,
        CASE WHEN over AND NOT failed THEN coalesce(round(total_rows::numeric / nullif(seconds, 0)::numeric, 4), 0) END
    FROM ended ORDER BY start_date
    RETURNING id
)
INSERT INTO pipeline_execution_closure (parent_execution_id, child_execution_id, depth) SELECT id, id, 0 FROM stored
"""

# By ix_pipeline_execution_pipeline_id_start_date, one seek for each pipeline.
_LAST_WRITES = """
UPDATE pipeline SET last_target_insert = latest.end_date, last_target_update = latest.end_date
FROM history_plan AS plan CROSS JOIN LATERAL (
    SELECT end_date FROM pipeline_execution
    WHERE pipeline_id = plan.id AND completed_successfully ORDER BY start_date DESC LIMIT 1
) AS latest
WHERE pipeline.id = plan.id
"""

Connection = psycopg.Connection[tuple[int, ...]]


def fill_executions(
    database_url: str,
    *,
    pipelines: int,
    executions: int,
    days: int,
    failing: float = 0.01,
    stuck: float = 0.00001,
    seed: int = _DEFAULT_SEED,
) -> list[int]:
    """Write executions of new pipelines over the days up to now; the ids of these pipelines.

    The same seed writes the same rows, but for the moment at which they end. Afterwards the tables are vacuumed and
    analysed.

    Args:
        database_url: a migrated database, whose user may switch off triggers.
        pipelines: those named "history 1" and so on, of three types; they are made when they do not exist yet.
        executions: how many, all pipelines together. Roots, each with its closure row.
        days: how long ago the history begins, in days of 24 hours.
        failing: the share of executions that failed.
        stuck: the share of executions that never ended, beside those that are still running now.
        seed: of the random numbers.
    """
    with psycopg.connect(database_url, autocommit=True) as connection:
        # The foreign keys hold by the way the rows are made, and checking them takes half of the time.
        connection.execute("SET session_replication_role = replica")
        connection.execute("SET synchronous_commit = off")
        connection.execute("SET work_mem = '256MB'")
        ids = [row[0] for row in connection.execute(_PIPELINES, {"pipelines": pipelines})]
        connection.execute("SELECT setseed(%s)", [1 / (1 + seed)])
        connection.execute(_PLAN, {"ids": ids, "executions": executions})
        _fill(connection, executions, days, {"failing": failing, "stuck": stuck})
        connection.execute(_LAST_WRITES)
        connection.execute("DROP TABLE history_plan")
        connection.execute("VACUUM ANALYZE pipeline, pipeline_execution, pipeline_execution_closure")
        connection.execute("CHECKPOINT")
    return ids


def _fill(connection: Connection, executions: int, days: int, shares: dict[str, float]) -> None:
    # Two minutes short of now: what is late by up to one still lies in the past.
    found = connection.execute("SELECT floor(extract(epoch FROM now()))::bigint - 120").fetchone()
    assert found
    span = days * 86_400
    chunks = max(1, executions // _CHUNK_ROWS)
    for number in range(chunks):
        part = {"since": number / chunks, "until": (number + 1) / chunks}
        connection.execute(_CHUNK, {"first": found[0] - span, "span": span, **part, **shares})
