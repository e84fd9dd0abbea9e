"""Alarm budgets and holidays of rules, and flags that can be put back."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0037"
down_revision = "0036"

_RULE = "anomaly_detection_rule"


def upgrade() -> None:
    """Every rule keeps its z."""
    op.add_column(_RULE, sa.Column("alarms_per_month", sa.Float()))
    op.add_column(_RULE, sa.Column("alarm_threshold", sa.Float()))
    op.add_column(_RULE, sa.Column("alarm_threshold_due", sa.DateTime(timezone=True)))
    op.add_column(_RULE, sa.Column("holidays", sa.ARRAY(sa.String(10)), nullable=False, server_default=sa.text("'{}'")))
    op.create_table(
        "unflagged_anomaly",
        sa.Column("pipeline_execution_id", sa.BigInteger(), nullable=False),
        sa.Column("rule_id", sa.BigInteger(), nullable=False),
        sa.Column("metric_field", sa.String(30), nullable=False),
        sa.Column("result", JSONB(), nullable=False),
        sa.Column("event", JSONB()),
        sa.Column("unflagged_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("pipeline_execution_id", "rule_id", name="pk_unflagged_anomaly"),
        sa.ForeignKeyConstraint(
            ["pipeline_execution_id"],
            ["pipeline_execution.id"],
            name="fk_unflagged_anomaly_pipeline_execution_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["rule_id"],
            [f"{_RULE}.id"],
            name="fk_unflagged_anomaly_rule_id",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_unflagged_anomaly_rule_id", "unflagged_anomaly", ["rule_id"])


def downgrade() -> None:
    """Rules judge by their z again; what was unflagged stays so."""
    op.drop_table("unflagged_anomaly")
    for column in ("holidays", "alarm_threshold_due", "alarm_threshold", "alarms_per_month"):
        op.drop_column(_RULE, column)
