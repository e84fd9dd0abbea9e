"""Freshness from the run that was due, on the days of a calendar, and from a look that found nothing to do."""

import sqlalchemy as sa
from alembic import op

from watcher_server.database.migrations.pipeline_effective import IMPORTANCE, view

revision = "0023"
down_revision = "0022"

# "mon-fri,sun" as the numbers of ISO 8601, Monday first and in order; a range may go over Sunday. PL/pgSQL evaluates
# its expressions many times as fast as a function in SQL begins its one statement.
_WEEKDAYS = """
CREATE FUNCTION watcher_weekdays(calendar text) RETURNS integer[] LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    names constant text[] := '{mon,tue,wed,thu,fri,sat,sun}';
    part text;
    day integer;
    last integer;
    counts boolean[] := '{f,f,f,f,f,f,f}';
BEGIN
    FOREACH part IN ARRAY string_to_array(calendar, ',') LOOP
        day := array_position(names, split_part(part, '-', 1));
        last := array_position(names, split_part(part, '-', -1));
        LOOP
            counts[day] := true;
            EXIT WHEN day = last;
            day := day % 7 + 1;
        END LOOP;
    END LOOP;
    RETURN array_positions(counts, true);
END
$$
"""

# The deadline when only time on the calendar's days counts. The time of the first of these days that is over already
# counts too, so the deadline is that many whole days of the calendar after it, and a rest. Days are those of the clock
# on the wall, so an hour that daylight saving adds or leaves out counts for nothing.
_DUE_ON = """
CREATE FUNCTION watcher_due_on(calendar text, zone text, moment timestamptz, number bigint, datepart text)
RETURNS timestamptz LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE
    days constant integer[] := watcher_weekdays(calendar);
    a_week constant integer := cardinality(days);
    seconds numeric := extract(epoch FROM watcher_due(moment, number, datepart) - moment);
    began timestamp := moment AT TIME ZONE zone;
    place integer;
    over integer;
    due timestamp;
BEGIN
    IF seconds IS NULL THEN
        RETURN NULL;
    END IF;
    place := array_position(days, extract(isodow FROM began)::integer);
    WHILE place IS NULL LOOP
        began := date_trunc('day', began) + interval '1 day';
        place := array_position(days, extract(isodow FROM began)::integer);
    END LOOP;
    seconds := seconds + extract(epoch FROM began - date_trunc('day', began));
    over := floor(seconds / 86400);
    due := date_trunc('day', began) + make_interval(
        days => over / a_week * 7 + (days[(place - 1 + over % a_week) % a_week + 1] - days[place] + 7) % 7,
        secs => (seconds - over * 86400::bigint)::float8
    );
    RETURN CASE WHEN due < '9999-01-01' THEN due AT TIME ZONE zone END;
END
$$
"""

_LAST_WRITE = "greatest(pipeline.last_target_insert, pipeline.last_target_update, pipeline.last_target_soft_delete)"

# How long data is fresh: from the last write, or the last run that looked and had nothing to
# do, or the creation; with a schedule from the first run that was due since then, which is the expected one or one that
# the schedule check has passed. Schedulers start a little early, so a write half a minute before the moment is by that
# run. Written after all that was due, it cannot be stale before another run is: until the check has found out which one
# that is, the moment is unknown. OFFSET 0 has the index read once, and not where nobody asks for it.
_WRITTEN = f"""(
    SELECT known.*, CASE
        WHEN pipeline.schedule IS NULL THEN current_as_of
        WHEN pipeline.due_since > current_as_of + early THEN pipeline.due_since
        WHEN pipeline.expected_next_run > current_as_of + early THEN pipeline.expected_next_run
    END AS due_from
    FROM (
        SELECT found.*, coalesce(greatest(last_write, last_looked), pipeline.created_at) AS current_as_of,
            least(make_interval(mins => pipeline.schedule_grace_minutes), interval '30 seconds') AS early
        FROM (
            SELECT {_LAST_WRITE} AS last_write, (
                SELECT max(execution.end_date) FROM pipeline_execution AS execution
                WHERE execution.pipeline_id = pipeline.id
                    AND execution.nothing_to_do AND execution.completed_successfully AND NOT execution.backfill
            ) AS last_looked
            OFFSET 0
        ) AS found
        OFFSET 0
    ) AS known
) AS written"""  # noqa: S608 - a constant

_WRITTEN_BEFORE = f"""(
    SELECT {_LAST_WRITE} AS last_write, coalesce({_LAST_WRITE}, pipeline.created_at) AS counted_from
) AS written"""


def _due(pair: str) -> str:
    """When data of which nothing is heard gets too old by this threshold, on the days of any calendar."""
    counted = f"written.due_from, threshold.{pair}_number, threshold.{pair}_datepart"
    on_days = f"watcher_due_on(pipeline.freshness_calendar, pipeline.schedule_timezone, {counted})"
    return f"CASE WHEN pipeline.freshness_calendar IS NULL THEN watcher_due({counted}) ELSE {on_days} END"


def upgrade() -> None:
    """Add the columns, what reads them, and for pipelines that have missed a run since they wrote, since when."""
    op.add_column("pipeline", sa.Column("freshness_calendar", sa.String(50)))
    op.add_column("pipeline", sa.Column("due_since", sa.DateTime(timezone=True)))
    op.create_index(
        "ix_pipeline_execution_nothing_to_do",
        "pipeline_execution",
        ["pipeline_id", "end_date"],
        postgresql_where=sa.text("nothing_to_do AND completed_successfully AND NOT backfill"),
    )
    op.execute(_WEEKDAYS)
    op.execute(_DUE_ON)
    query = view(
        IMPORTANCE + ", pipeline.freshness_calendar, written.last_looked, written.current_as_of, pipeline.due_since",
        written=_WRITTEN,
        counted_from="coalesce(written.due_from, written.current_as_of)",
        stale_at=_due("freshness"),
        stale_warning_at=_due("freshness_warning"),
    )
    op.execute(f"CREATE OR REPLACE VIEW pipeline_effective AS {query}")
    op.execute("""
        UPDATE pipeline SET due_since = pipeline.last_missed_run
        FROM pipeline_effective AS known
        WHERE known.id = pipeline.id AND pipeline.schedule IS NOT NULL
            AND pipeline.last_missed_run > known.current_as_of
    """)


def downgrade() -> None:
    """As it was: every pipeline is stale by the clock alone."""
    op.execute("DROP VIEW pipeline_effective")
    op.execute(f"CREATE VIEW pipeline_effective AS {view(IMPORTANCE, written=_WRITTEN_BEFORE)}")
    op.execute("DROP FUNCTION watcher_due_on")
    op.execute("DROP FUNCTION watcher_weekdays")
    op.drop_index("ix_pipeline_execution_nothing_to_do", "pipeline_execution")
    op.drop_column("pipeline", "due_since")
    op.drop_column("pipeline", "freshness_calendar")
