"""The executions of streams that began again, and the schedules that came from events."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0032"
down_revision = "0031"


def upgrade() -> None:
    """No stream has begun again so far, and no schedule came from an event."""
    op.drop_column("openlineage_run", "attempt")
    op.add_column(
        "openlineage_run",
        sa.Column("earlier_ids", ARRAY(sa.BigInteger), nullable=False, server_default=sa.text("'{}'")),
    )
    op.add_column("openlineage_job", sa.Column("schedule", JSONB))


def downgrade() -> None:
    """The executions stay; which of them were of one run is not known any more."""
    op.drop_column("openlineage_job", "schedule")
    op.drop_column("openlineage_run", "earlier_ids")
    op.add_column("openlineage_run", sa.Column("attempt", sa.SmallInteger, nullable=False, server_default=sa.text("1")))
