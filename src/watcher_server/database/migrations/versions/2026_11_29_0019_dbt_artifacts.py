"""Which of dbt's files were applied."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.create_table(
        "dbt_artifact",
        sa.Column("invocation_id", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(12), primary_key=True),
        sa.Column("generated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("applied_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
    )
    op.create_index("ix_dbt_artifact_applied_at", "dbt_artifact", ["applied_at"])


def downgrade() -> None:
    op.drop_table("dbt_artifact")
