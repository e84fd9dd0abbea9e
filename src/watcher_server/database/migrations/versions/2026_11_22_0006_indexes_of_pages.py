"""Indexes for what pages ask: alerts and anomaly events by their moment, tasks that were revoked beside failed ones."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add three, and widen one."""
    op.create_index("ix_alert_created_at", "alert", ["created_at"])
    op.create_index("ix_anomaly_event_last_at", "anomaly_event", ["last_at"])
    op.create_index("ix_anomaly_event_pipeline_id_last_at", "anomaly_event", ["pipeline_id", "last_at"])
    op.drop_index("ix_task_failed", table_name="task")
    op.create_index("ix_task_failed", "task", ["name"], postgresql_where=sa.text("state IN ('FAILURE', 'REVOKED')"))


def downgrade() -> None:
    op.drop_index("ix_task_failed", table_name="task")
    op.create_index("ix_task_failed", "task", ["name"], postgresql_where=sa.text("state = 'FAILURE'"))
    op.drop_index("ix_anomaly_event_pipeline_id_last_at", table_name="anomaly_event")
    op.drop_index("ix_anomaly_event_last_at", table_name="anomaly_event")
    op.drop_index("ix_alert_created_at", table_name="alert")
