"""What a caller's key was answered, which of two watermarks is lower, and runs of the future as of now."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"

# Numbers as numbers, dates and timestamps as such, anything else by its code points. Without an offset it is UTC,
# whatever the session says.
IS_LOWER = r"""
CREATE FUNCTION watcher_watermark_is_lower(new text, old text) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE SET timezone = 'UTC' AS $$
    SELECT CASE
        WHEN new ~ '^[+-]?[0-9]+(\.[0-9]+)?$' AND old ~ '^[+-]?[0-9]+(\.[0-9]+)?$'
        THEN new::numeric < old::numeric
        WHEN watcher_is_moment(new) AND watcher_is_moment(old) THEN new::timestamptz < old::timestamptz
        ELSE new < old COLLATE "C"
    END
$$
"""
IS_MOMENT = r"""
CREATE FUNCTION watcher_is_moment(watermark text) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT watermark ~ ('^[0-9]{4}-[0-9]{2}-[0-9]{2}'
            || '([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}(:?[0-9]{2})?)?)?$')
        AND pg_input_is_valid(watermark, 'timestamptz')
$$
"""

# No index has all ends, so the table is read once.
FREE_ENDS = """
UPDATE pipeline_execution SET end_date = now(), end_skew = end_date - now() WHERE end_date > now()
"""
# By ix_pipeline_execution_start_date. Days to come are never summed, and today is always counted.
FREE_STARTS = """
UPDATE pipeline_execution SET
    start_date = now(), start_skew = start_date - now(),
    date_recorded = (now() AT TIME ZONE 'UTC')::date, hour_recorded = extract(hour FROM now() AT TIME ZONE 'UTC')
WHERE start_date > now()
"""
# The next success moves the watermark, and what was written counts from now on.
FREE_PIPELINES = """
UPDATE pipeline SET
    watermark_start_date = CASE WHEN watermark_start_date <= now() THEN watermark_start_date END,
    last_target_insert = CASE WHEN last_target_insert > now() THEN now() ELSE last_target_insert END,
    last_target_update = CASE WHEN last_target_update > now() THEN now() ELSE last_target_update END,
    last_target_soft_delete = CASE WHEN last_target_soft_delete > now() THEN now() ELSE last_target_soft_delete END
WHERE greatest(watermark_start_date, last_target_insert, last_target_update, last_target_soft_delete) > now()
"""


def upgrade() -> None:
    """Add the table of keys and the functions; let runs that lie in the future count from now, as new ones do."""
    op.create_table(
        "idempotency_key",
        sa.Column("caller", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("key", sa.String(200), primary_key=True),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("status", sa.SmallInteger, nullable=False),
        sa.Column("answer", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )
    op.create_index("ix_idempotency_key_created_at", "idempotency_key", ["created_at"])
    op.execute(IS_MOMENT)
    op.execute(IS_LOWER)
    op.execute(FREE_STARTS)
    op.execute(FREE_ENDS)
    op.execute(FREE_PIPELINES)


def downgrade() -> None:
    """As it was; runs that lay in the future keep counting from when the upgrade freed them."""
    op.execute("DROP FUNCTION watcher_watermark_is_lower, watcher_is_moment")
    op.drop_table("idempotency_key")
