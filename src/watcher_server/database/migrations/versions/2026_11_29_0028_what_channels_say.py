"""What channels call their messages, which parts of one arrived, and what each process knows of the channels."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    """Add the column, the index and the table."""
    op.add_column("notification", sa.Column("arrived", postgresql.JSONB(), nullable=True))
    op.create_index("ix_notification_ref", "notification", ["ref"], postgresql_where=sa.text("ref IS NOT NULL"))
    op.create_table(
        "channel_view",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.Column("known", postgresql.JSONB(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("channel_view")
    op.drop_index("ix_notification_ref", table_name="notification")
    op.drop_column("notification", "arrived")
