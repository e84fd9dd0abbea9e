"""The first tables."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

TABLES = (
    "address_lineage_closure",
    "address_type",
    "alert",
    "api_token",
    "outbox",
    "pipeline_execution_closure",
    "pipeline_type",
    "queue_alert_state",
    "address",
    "pipeline",
    "address_lineage",
    "anomaly_detection_rule",
    "freshness_pipeline_log",
    "pipeline_execution",
    "anomaly_detection_result",
    "timeliness_pipeline_execution_log",
)
TIMESTAMP = sa.DateTime(timezone=True)

# A moment so many units after another. A threshold that reaches past the calendar's end is never exceeded: it is
# infinity. The caps keep each sum inside what a timestamp can hold.
DEADLINE = """
CREATE FUNCTION watcher_deadline(moment timestamptz, number bigint, datepart text) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN datepart = 'minute' THEN moment + make_interval(mins => number::int)
        WHEN datepart = 'hour' AND number <= 1700000000 THEN moment + make_interval(hours => number::int)
        WHEN datepart = 'day' AND number <= 70000000 THEN moment + make_interval(days => number::int)
        WHEN datepart = 'week' AND number <= 10000000 THEN moment + make_interval(weeks => number::int)
        WHEN datepart = 'month' AND number <= 2400000 THEN moment + make_interval(months => number::int)
        WHEN datepart = 'quarter' AND number <= 800000 THEN moment + make_interval(months => 3 * number::int)
        WHEN datepart = 'year' AND number <= 200000 THEN moment + make_interval(years => number::int)
        ELSE 'infinity'::timestamptz
    END
$$
"""


def upgrade() -> None:
    op.execute(DEADLINE)
    op.create_table(
        "address_lineage_closure",
        sa.Column("source_address_id", sa.BigInteger(), nullable=False),
        sa.Column("target_address_id", sa.BigInteger(), nullable=False),
        sa.Column("depth", sa.Integer(), nullable=False),
        sa.Column("lineage_path", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.PrimaryKeyConstraint("source_address_id", "target_address_id", name="pk_address_lineage_closure"),
    )
    op.create_index("ix_address_lineage_closure_target_address_id", "address_lineage_closure", ["target_address_id"])
    op.create_table(
        "address_type",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("name", sa.String(length=150), nullable=False),
        sa.Column("group_name", sa.String(length=150), nullable=False),
        sa.Column("created_at", TIMESTAMP, server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", TIMESTAMP, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_address_type"),
        sa.UniqueConstraint("name", name="uq_address_type_name"),
    )
    op.create_table(
        "alert",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("dedupe_key", sa.String(length=200), nullable=False),
        sa.Column("level", sa.String(length=10), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("details", postgresql.JSONB(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("created_at", TIMESTAMP, server_default=sa.text("now()"), nullable=False),
        sa.Column("delivered_at", TIMESTAMP, nullable=True),
        sa.Column("delivered_to", sa.String(length=20), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_alert"),
        sa.UniqueConstraint("dedupe_key", name="uq_alert_dedupe_key"),
    )
    op.create_table(
        "api_token",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("name", sa.String(length=150), nullable=False),
        sa.Column("scope", sa.String(length=10), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", TIMESTAMP, server_default=sa.text("now()"), nullable=False),
        sa.Column("last_used_at", TIMESTAMP, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_api_token"),
        sa.UniqueConstraint("name", name="uq_api_token_name"),
        sa.UniqueConstraint("token_hash", name="uq_api_token_token_hash"),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("task_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("task_name", sa.String(length=100), nullable=False),
        sa.Column("kwargs", postgresql.JSONB(), nullable=False),
        sa.Column("queue", sa.String(length=50), server_default=sa.text("'celery'"), nullable=False),
        sa.Column("created_at", TIMESTAMP, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
        postgresql_with={"autovacuum_vacuum_scale_factor": "0", "autovacuum_vacuum_threshold": "5000"},
    )
    op.create_table(
        "pipeline_execution_closure",
        sa.Column("parent_execution_id", sa.BigInteger(), nullable=False),
        sa.Column("child_execution_id", sa.BigInteger(), nullable=False),
        sa.Column("depth", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("parent_execution_id", "child_execution_id", name="pk_pipeline_execution_closure"),
    )
    op.create_index(
        "ix_pipeline_execution_closure_child_execution_id",
        "pipeline_execution_closure",
        ["child_execution_id"],
    )
    op.create_table(
        "pipeline_type",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("name", sa.String(length=150), nullable=False),
        sa.Column("created_at", TIMESTAMP, server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", TIMESTAMP, nullable=True),
        sa.Column("freshness_number", sa.Integer(), nullable=True),
        sa.Column("freshness_datepart", sa.String(length=10), nullable=True),
        sa.Column("mute_freshness_check", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("timeliness_number", sa.Integer(), nullable=True),
        sa.Column("timeliness_datepart", sa.String(length=10), nullable=True),
        sa.Column("mute_timeliness_check", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.CheckConstraint(
            "(freshness_number IS NULL) = (freshness_datepart IS NULL)",
            name="ck_pipeline_type_freshness_pair",
        ),
        sa.CheckConstraint(
            "(timeliness_number IS NULL) = (timeliness_datepart IS NULL)",
            name="ck_pipeline_type_timeliness_pair",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_pipeline_type"),
        sa.UniqueConstraint("name", name="uq_pipeline_type_name"),
    )
    op.create_table(
        "queue_alert_state",
        sa.Column("queue", sa.String(length=50), nullable=False),
        sa.Column("level", sa.String(length=10), nullable=True),
        sa.Column("changed_at", TIMESTAMP, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("queue", name="pk_queue_alert_state"),
    )
    op.create_table(
        "address",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("name", sa.String(length=150), nullable=False),
        sa.Column("address_type_id", sa.BigInteger(), nullable=False),
        sa.Column("database_name", sa.String(length=50), nullable=True),
        sa.Column("schema_name", sa.String(length=50), nullable=True),
        sa.Column("table_name", sa.String(length=50), nullable=True),
        sa.Column("primary_key", sa.String(length=50), nullable=True),
        sa.Column("address_metadata", postgresql.JSONB(), nullable=True),
        sa.Column("fingerprint", sa.String(length=64), nullable=True),
        sa.Column("created_at", TIMESTAMP, server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", TIMESTAMP, nullable=True),
        sa.ForeignKeyConstraint(["address_type_id"], ["address_type.id"], name="fk_address_address_type_id"),
        sa.PrimaryKeyConstraint("id", name="pk_address"),
        sa.UniqueConstraint("name", name="uq_address_name"),
    )
    op.create_index("ix_address_address_type_id", "address", ["address_type_id"])
    op.create_table(
        "pipeline",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("name", sa.String(length=150), nullable=False),
        sa.Column("pipeline_type_id", sa.BigInteger(), nullable=False),
        sa.Column("watermark", sa.String(length=50), nullable=True),
        sa.Column("next_watermark", sa.String(length=50), nullable=True),
        sa.Column("pipeline_metadata", postgresql.JSONB(), nullable=True),
        sa.Column("last_target_insert", TIMESTAMP, nullable=True),
        sa.Column("last_target_update", TIMESTAMP, nullable=True),
        sa.Column("last_target_soft_delete", TIMESTAMP, nullable=True),
        sa.Column("load_lineage", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=True),
        sa.Column("created_at", TIMESTAMP, server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", TIMESTAMP, nullable=True),
        sa.Column("freshness_number", sa.Integer(), nullable=True),
        sa.Column("freshness_datepart", sa.String(length=10), nullable=True),
        sa.Column("mute_freshness_check", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("timeliness_number", sa.Integer(), nullable=True),
        sa.Column("timeliness_datepart", sa.String(length=10), nullable=True),
        sa.Column("mute_timeliness_check", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.CheckConstraint(
            "(freshness_number IS NULL) = (freshness_datepart IS NULL)", name="ck_pipeline_freshness_pair"
        ),
        sa.CheckConstraint(
            "(timeliness_number IS NULL) = (timeliness_datepart IS NULL)", name="ck_pipeline_timeliness_pair"
        ),
        sa.ForeignKeyConstraint(["pipeline_type_id"], ["pipeline_type.id"], name="fk_pipeline_pipeline_type_id"),
        sa.PrimaryKeyConstraint("id", name="pk_pipeline"),
        sa.UniqueConstraint("name", name="uq_pipeline_name"),
        postgresql_with={"fillfactor": "70"},
    )
    op.create_index("ix_pipeline_pipeline_type_id", "pipeline", ["pipeline_type_id"])
    op.create_table(
        "address_lineage",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("pipeline_id", sa.BigInteger(), nullable=False),
        sa.Column("source_address_id", sa.BigInteger(), nullable=False),
        sa.Column("target_address_id", sa.BigInteger(), nullable=False),
        sa.Column("created_at", TIMESTAMP, server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["pipeline_id"], ["pipeline.id"], name="fk_address_lineage_pipeline_id"),
        sa.ForeignKeyConstraint(["source_address_id"], ["address.id"], name="fk_address_lineage_source_address_id"),
        sa.ForeignKeyConstraint(["target_address_id"], ["address.id"], name="fk_address_lineage_target_address_id"),
        sa.PrimaryKeyConstraint("id", name="pk_address_lineage"),
        sa.UniqueConstraint(
            "pipeline_id", "source_address_id", "target_address_id", name="uq_address_lineage_pipeline_id"
        ),
    )
    op.create_index("ix_address_lineage_downstream", "address_lineage", ["source_address_id", "target_address_id"])
    op.create_index("ix_address_lineage_upstream", "address_lineage", ["target_address_id", "source_address_id"])
    op.create_table(
        "anomaly_detection_rule",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("pipeline_id", sa.BigInteger(), nullable=False),
        sa.Column("metric_field", sa.String(length=30), nullable=False),
        sa.Column("z_threshold", sa.Double(), server_default=sa.text("3.0"), nullable=False),
        sa.Column("lookback_days", sa.Integer(), server_default=sa.text("30"), nullable=False),
        sa.Column("minimum_executions", sa.Integer(), server_default=sa.text("30"), nullable=False),
        sa.Column("active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("created_at", TIMESTAMP, server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", TIMESTAMP, nullable=True),
        sa.CheckConstraint("z_threshold BETWEEN 1 AND 10", name="ck_anomaly_detection_rule_z_threshold"),
        sa.ForeignKeyConstraint(["pipeline_id"], ["pipeline.id"], name="fk_anomaly_detection_rule_pipeline_id"),
        sa.PrimaryKeyConstraint("id", name="pk_anomaly_detection_rule"),
        sa.UniqueConstraint("pipeline_id", "metric_field", name="uq_anomaly_detection_rule_pipeline_id"),
    )
    op.create_table(
        "freshness_pipeline_log",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("pipeline_id", sa.BigInteger(), nullable=False),
        sa.Column("last_dml_timestamp", TIMESTAMP, nullable=True),
        sa.Column("evaluated_at", TIMESTAMP, server_default=sa.text("now()"), nullable=False),
        sa.Column("freshness_number", sa.Integer(), nullable=False),
        sa.Column("freshness_datepart", sa.String(length=10), nullable=False),
        sa.Column("used_child_config", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["pipeline_id"], ["pipeline.id"], name="fk_freshness_pipeline_log_pipeline_id"),
        sa.PrimaryKeyConstraint("id", name="pk_freshness_pipeline_log"),
        sa.UniqueConstraint(
            "pipeline_id",
            "last_dml_timestamp",
            name="uq_freshness_pipeline_log_pipeline_id",
            postgresql_nulls_not_distinct=True,
        ),
    )
    op.create_table(
        "pipeline_execution",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("parent_id", sa.BigInteger(), nullable=True),
        sa.Column("pipeline_id", sa.BigInteger(), nullable=False),
        sa.Column("start_date", TIMESTAMP, nullable=False),
        sa.Column("end_date", TIMESTAMP, nullable=True),
        sa.Column("date_recorded", sa.Date(), nullable=False),
        sa.Column("hour_recorded", sa.SmallInteger(), nullable=False),
        sa.Column("duration_seconds", sa.BigInteger(), nullable=True),
        sa.Column("completed_successfully", sa.Boolean(), nullable=True),
        sa.Column("inserts", sa.BigInteger(), nullable=True),
        sa.Column("updates", sa.BigInteger(), nullable=True),
        sa.Column("soft_deletes", sa.BigInteger(), nullable=True),
        sa.Column("total_rows", sa.BigInteger(), nullable=True),
        sa.Column("throughput", sa.Double(), nullable=True),
        sa.Column("watermark", sa.String(length=50), nullable=True),
        sa.Column("next_watermark", sa.String(length=50), nullable=True),
        sa.Column("execution_metadata", postgresql.JSONB(), nullable=True),
        sa.Column("anomaly_flags", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.ForeignKeyConstraint(["parent_id"], ["pipeline_execution.id"], name="fk_pipeline_execution_parent_id"),
        sa.ForeignKeyConstraint(["pipeline_id"], ["pipeline.id"], name="fk_pipeline_execution_pipeline_id"),
        sa.PrimaryKeyConstraint("id", name="pk_pipeline_execution"),
        postgresql_with={"fillfactor": "80"},
    )
    op.create_index(
        "ix_pipeline_execution_baseline",
        "pipeline_execution",
        ["pipeline_id", "hour_recorded", "end_date"],
        postgresql_where=sa.text("completed_successfully"),
    )
    op.create_index(
        "ix_pipeline_execution_parent_id",
        "pipeline_execution",
        ["parent_id"],
        postgresql_where=sa.text("parent_id IS NOT NULL"),
    )
    op.create_index("ix_pipeline_execution_pipeline_id_id", "pipeline_execution", ["pipeline_id", "id"])
    op.create_index(
        "ix_pipeline_execution_running",
        "pipeline_execution",
        ["start_date"],
        postgresql_where=sa.text("end_date IS NULL"),
    )
    op.create_index("ix_pipeline_execution_start_date", "pipeline_execution", ["start_date"])
    op.create_table(
        "anomaly_detection_result",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("rule_id", sa.BigInteger(), nullable=False),
        sa.Column("pipeline_execution_id", sa.BigInteger(), nullable=False),
        sa.Column("metric_field", sa.String(length=30), nullable=False),
        sa.Column("violation_value", sa.Double(), nullable=False),
        sa.Column("z_score", sa.Double(), nullable=False),
        sa.Column("historical_mean", sa.Double(), nullable=False),
        sa.Column("historical_std", sa.Double(), nullable=False),
        sa.Column("z_threshold", sa.Double(), nullable=False),
        sa.Column("lower_bound", sa.Double(), nullable=False),
        sa.Column("upper_bound", sa.Double(), nullable=False),
        sa.Column("execution_count", sa.Integer(), nullable=False),
        sa.Column("context", postgresql.JSONB(), nullable=False),
        sa.Column("detected_at", TIMESTAMP, server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["pipeline_execution_id"],
            ["pipeline_execution.id"],
            name="fk_anomaly_detection_result_pipeline_execution_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["rule_id"], ["anomaly_detection_rule.id"], name="fk_anomaly_detection_result_rule_id"),
        sa.PrimaryKeyConstraint("id", name="pk_anomaly_detection_result"),
        sa.UniqueConstraint("rule_id", "pipeline_execution_id", name="uq_anomaly_detection_result_rule_id"),
    )
    op.create_index(
        "ix_anomaly_detection_result_pipeline_execution_id",
        "anomaly_detection_result",
        ["pipeline_execution_id"],
    )
    op.create_table(
        "timeliness_pipeline_execution_log",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("pipeline_execution_id", sa.BigInteger(), nullable=False),
        sa.Column("pipeline_id", sa.BigInteger(), nullable=False),
        sa.Column("duration_seconds", sa.BigInteger(), nullable=True),
        sa.Column("seconds_threshold", sa.BigInteger(), nullable=True),
        sa.Column("execution_status", sa.String(length=10), nullable=False),
        sa.Column("timely_number", sa.Integer(), nullable=False),
        sa.Column("timely_datepart", sa.String(length=10), nullable=False),
        sa.Column("used_child_config", sa.Boolean(), nullable=False),
        sa.Column("evaluated_at", TIMESTAMP, server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["pipeline_execution_id"],
            ["pipeline_execution.id"],
            name="fk_timeliness_pipeline_execution_log_pipeline_execution_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["pipeline_id"], ["pipeline.id"], name="fk_timeliness_pipeline_execution_log_pipeline_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_timeliness_pipeline_execution_log"),
        sa.UniqueConstraint("pipeline_execution_id", name="uq_timeliness_pipeline_execution_log_pipeline_execution_id"),
    )


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)
    op.execute("DROP FUNCTION watcher_deadline")
