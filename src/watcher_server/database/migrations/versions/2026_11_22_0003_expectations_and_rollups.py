"""Schedules, warnings, anomaly events and daily figures."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

TIMESTAMP = sa.DateTime(timezone=True)
WARNING_PAIRS = ("freshness_warning", "timeliness_warning")


def upgrade() -> None:
    """Let a pipeline say when it runs and when to warn, and keep what is learnt about its numbers."""
    for table in ("pipeline", "pipeline_type"):
        _add_warnings(table)
    _add_schedule()
    _tell_warnings_from_failures()
    _replace_execution_indexes()
    _widen_rules()
    _create_daily_metrics()


def _add_warnings(table: str) -> None:
    for pair in WARNING_PAIRS:
        op.add_column(table, sa.Column(f"{pair}_number", sa.Integer(), nullable=True))
        op.add_column(table, sa.Column(f"{pair}_datepart", sa.String(length=10), nullable=True))
        op.create_check_constraint(
            f"ck_{table}_{pair}_pair", table, f"({pair}_number IS NULL) = ({pair}_datepart IS NULL)"
        )


def _add_schedule() -> None:
    op.add_column("pipeline", sa.Column("watermark_start_date", TIMESTAMP, nullable=True))
    op.add_column("pipeline", sa.Column("schedule", sa.String(length=100), nullable=True))
    op.add_column(
        "pipeline",
        sa.Column("schedule_timezone", sa.String(length=50), server_default=sa.text("'UTC'"), nullable=False),
    )
    op.add_column(
        "pipeline", sa.Column("schedule_grace_minutes", sa.Integer(), server_default=sa.text("10"), nullable=False)
    )
    op.add_column("pipeline", sa.Column("expected_next_run", TIMESTAMP, nullable=True))
    op.add_column("pipeline", sa.Column("last_missed_run", TIMESTAMP, nullable=True))
    op.create_index(
        "ix_pipeline_expected_next_run",
        "pipeline",
        ["expected_next_run"],
        postgresql_where=sa.text("expected_next_run IS NOT NULL"),
    )
    op.create_table(
        "missed_run_log",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("pipeline_id", sa.BigInteger(), nullable=False),
        sa.Column("expected_at", TIMESTAMP, nullable=False),
        sa.Column("schedule", sa.String(length=100), nullable=False),
        sa.Column("schedule_timezone", sa.String(length=50), nullable=False),
        sa.Column("schedule_grace_minutes", sa.Integer(), nullable=False),
        sa.Column("evaluated_at", TIMESTAMP, server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["pipeline_id"], ["pipeline.id"], name="fk_missed_run_log_pipeline_id"),
        sa.PrimaryKeyConstraint("id", name="pk_missed_run_log"),
        sa.UniqueConstraint("pipeline_id", "expected_at", name="uq_missed_run_log_pipeline_id"),
    )


def _tell_warnings_from_failures() -> None:
    for table in ("freshness_pipeline_log", "timeliness_pipeline_execution_log"):
        op.add_column(
            table, sa.Column("severity", sa.String(length=10), server_default=sa.text("'failure'"), nullable=False)
        )
    op.drop_constraint("uq_freshness_pipeline_log_pipeline_id", "freshness_pipeline_log")
    op.create_unique_constraint(
        "uq_freshness_pipeline_log_pipeline_id",
        "freshness_pipeline_log",
        ["pipeline_id", "last_dml_timestamp", "severity"],
        postgresql_nulls_not_distinct=True,
    )
    op.drop_constraint(
        "uq_timeliness_pipeline_execution_log_pipeline_execution_id", "timeliness_pipeline_execution_log"
    )
    op.create_unique_constraint(
        "uq_timeliness_pipeline_execution_log_pipeline_execution_id",
        "timeliness_pipeline_execution_log",
        ["pipeline_execution_id", "severity"],
    )


def _replace_execution_indexes() -> None:
    op.create_index("ix_pipeline_execution_pipeline_id_start_date", "pipeline_execution", ["pipeline_id", "start_date"])
    op.drop_index("ix_pipeline_execution_running", "pipeline_execution")
    op.create_index(
        "ix_pipeline_execution_running",
        "pipeline_execution",
        ["pipeline_id", "start_date"],
        postgresql_where=sa.text("end_date IS NULL"),
    )


def _widen_rules() -> None:
    rule = "anomaly_detection_rule"
    op.add_column(rule, sa.Column("method", sa.String(length=12), server_default=sa.text("'zscore'"), nullable=False))
    op.add_column(rule, sa.Column("seasonality", sa.String(12), server_default=sa.text("'hour'"), nullable=False))
    op.add_column(rule, sa.Column("direction", sa.String(length=4), server_default=sa.text("'both'"), nullable=False))
    op.add_column(rule, sa.Column("minimum_std_percent", sa.Double(), server_default=sa.text("1"), nullable=False))
    op.add_column(rule, sa.Column("minimum_std", sa.Double(), server_default=sa.text("1"), nullable=False))
    op.add_column(rule, sa.Column("new_normal_after", sa.Integer(), server_default=sa.text("10"), nullable=True))
    op.add_column(rule, sa.Column("normal_from", TIMESTAMP, nullable=True))
    op.add_column(rule, sa.Column("normal_until", TIMESTAMP, nullable=True))
    op.add_column(rule, sa.Column("learning", sa.Boolean(), server_default=sa.text("true"), nullable=False))
    op.create_table(
        "anomaly_event",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("rule_id", sa.BigInteger(), nullable=False),
        sa.Column("pipeline_id", sa.BigInteger(), nullable=False),
        sa.Column("metric_field", sa.String(length=30), nullable=False),
        sa.Column("direction", sa.String(length=4), nullable=False),
        sa.Column("first_execution_id", sa.BigInteger(), nullable=False),
        sa.Column("last_execution_id", sa.BigInteger(), nullable=False),
        sa.Column("started_at", TIMESTAMP, nullable=False),
        sa.Column("last_at", TIMESTAMP, nullable=False),
        sa.Column("execution_count", sa.Integer(), nullable=False),
        sa.Column("alerted", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("accepted_at", TIMESTAMP, nullable=True),
        sa.ForeignKeyConstraint(["rule_id"], ["anomaly_detection_rule.id"], name="fk_anomaly_event_rule_id"),
        sa.ForeignKeyConstraint(["pipeline_id"], ["pipeline.id"], name="fk_anomaly_event_pipeline_id"),
        sa.PrimaryKeyConstraint("id", name="pk_anomaly_event"),
    )
    op.create_index("ix_anomaly_event_rule_id_last_at", "anomaly_event", ["rule_id", "last_at"])
    op.add_column("anomaly_detection_result", sa.Column("event_id", sa.BigInteger(), nullable=True))
    op.create_foreign_key(
        "fk_anomaly_detection_result_event_id",
        "anomaly_detection_result",
        "anomaly_event",
        ["event_id"],
        ["id"],
    )
    op.create_index("ix_anomaly_detection_result_event_id", "anomaly_detection_result", ["event_id"])


def _create_daily_metrics() -> None:
    numbers = (
        "total_executions",
        "ended_executions",
        "failed_executions",
    )
    sums = ("inserts", "updates", "soft_deletes", "total_rows", "duration_seconds")
    op.create_table(
        "daily_pipeline_metric",
        sa.Column("date_recorded", sa.Date(), nullable=False),
        sa.Column("pipeline_id", sa.BigInteger(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in numbers),
        *(sa.Column(name, sa.Numeric(), nullable=True) for name in sums),
        sa.Column("measured_durations", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("date_recorded", "pipeline_id", name="pk_daily_pipeline_metric"),
    )
    op.create_table(
        "daily_pipeline_metric_change",
        sa.Column("date_recorded", sa.Date(), nullable=False),
        sa.Column("pipeline_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("date_recorded", "pipeline_id", name="pk_daily_pipeline_metric_change"),
    )
    op.create_table(
        "daily_pipeline_metric_progress",
        sa.Column("only", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("watched_before", sa.Date(), nullable=False),
        sa.Column("summed_before", sa.Date(), nullable=False),
        sa.CheckConstraint('"only"', name="ck_daily_pipeline_metric_progress_only"),
        sa.PrimaryKeyConstraint("only", name="pk_daily_pipeline_metric_progress"),
    )
    op.execute(
        "INSERT INTO daily_pipeline_metric_progress (watched_before, summed_before) VALUES ('-infinity', '-infinity')"
    )


def downgrade() -> None:
    """Forget schedules, warnings, events and daily figures; what was found stays, warnings excepted."""
    for table in ("daily_pipeline_metric_progress", "daily_pipeline_metric_change", "daily_pipeline_metric"):
        op.drop_table(table)
    op.drop_column("anomaly_detection_result", "event_id")
    op.drop_table("anomaly_event")
    for column in (
        *("learning", "normal_until", "normal_from", "new_normal_after", "minimum_std", "minimum_std_percent"),
        *("direction", "seasonality", "method"),
    ):
        op.drop_column("anomaly_detection_rule", column)
    op.drop_index("ix_pipeline_execution_running", "pipeline_execution")
    op.create_index(
        "ix_pipeline_execution_running",
        "pipeline_execution",
        ["start_date"],
        postgresql_where=sa.text("end_date IS NULL"),
    )
    op.drop_index("ix_pipeline_execution_pipeline_id_start_date", "pipeline_execution")
    _forget_warnings()
    op.drop_table("missed_run_log")
    for column in (
        *("last_missed_run", "expected_next_run", "schedule_grace_minutes", "schedule_timezone", "schedule"),
        "watermark_start_date",
    ):
        op.drop_column("pipeline", column)
    for table in ("pipeline_type", "pipeline"):
        for pair in WARNING_PAIRS:
            op.drop_column(table, f"{pair}_datepart")
            op.drop_column(table, f"{pair}_number")


def _forget_warnings() -> None:
    for table in ("freshness_pipeline_log", "timeliness_pipeline_execution_log"):
        op.execute(f"DELETE FROM {table} WHERE severity <> 'failure'")  # noqa: S608 - the names stand above
        op.drop_column(table, "severity")  # And with it the constraint that names it.
    op.create_unique_constraint(
        "uq_freshness_pipeline_log_pipeline_id",
        "freshness_pipeline_log",
        ["pipeline_id", "last_dml_timestamp"],
        postgresql_nulls_not_distinct=True,
    )
    op.create_unique_constraint(
        "uq_timeliness_pipeline_execution_log_pipeline_execution_id",
        "timeliness_pipeline_execution_log",
        ["pipeline_execution_id"],
    )
