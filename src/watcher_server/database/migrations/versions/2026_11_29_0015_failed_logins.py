"""How many logins failed, for Prometheus."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0006"


def upgrade() -> None:
    """A row per way in which a wrong token was shown."""
    op.create_table(
        "failed_login_count",
        sa.Column("kind", sa.String(10), primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("failed_login_count")
