"""How many requests had fields that were ignored, for Prometheus."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    """A row per path."""
    op.create_table(
        "ignored_field_count",
        sa.Column("path", sa.Text, primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("ignored_field_count")
