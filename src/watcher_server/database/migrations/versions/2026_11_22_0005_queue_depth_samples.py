"""Keep the depth of the queues over time."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Let the keeper write down once a minute how deep each queue is."""
    op.create_table(
        "queue_depth_sample",
        sa.Column("sampled_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("ready", sa.BigInteger(), nullable=True),
        sa.Column("unacknowledged", sa.BigInteger(), nullable=True),
        sa.Column("scheduled", sa.BigInteger(), nullable=False),
        sa.Column("outbox_pending", sa.BigInteger(), nullable=False),
        sa.Column("oldest_seconds", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("sampled_at", "queue", name="pk_queue_depth_sample"),
    )


def downgrade() -> None:
    """Forget how deep the queues were."""
    op.drop_table("queue_depth_sample")
