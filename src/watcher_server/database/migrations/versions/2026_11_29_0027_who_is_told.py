"""Who is told: channels of every type, routes, calendars and windows."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    """Give channels a type and what they need, and add the other objects."""
    op.add_column("channel", sa.Column("type", sa.String(20), nullable=False, server_default=sa.text("'default'")))
    op.add_column(
        "channel", sa.Column("spec", postgresql.JSONB(), nullable=False, server_default=sa.text("'{}'::jsonb"))
    )
    op.add_column("channel", sa.Column("secrets", sa.LargeBinary(), nullable=True))
    op.add_column("channel", sa.Column("origin", sa.Text(), nullable=True))
    op.add_column("channel", sa.Column("cap_tokens", sa.Double(), nullable=True))
    op.add_column("channel", sa.Column("cap_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("channel", sa.Column("updated_at", sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "alerting_object",
        sa.Column("id", sa.BigInteger(), sa.Identity(), primary_key=True),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("name", sa.String(1000), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("spec", postgresql.JSONB(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.UniqueConstraint("kind", "name", name="uq_alerting_object_kind"),
        sa.CheckConstraint("kind IN ('route', 'calendar', 'window', 'pipeline')", name=op.f("ck_alerting_object_kind")),
    )
    op.add_column("notification", sa.Column("ref", sa.Text(), nullable=True))
    op.add_column("notification", sa.Column("reason", sa.Text(), nullable=True))
    op.add_column("notification", sa.Column("route", sa.Text(), nullable=True))


def downgrade() -> None:
    """Go back to the one channel."""
    for column in ("route", "reason", "ref"):
        op.drop_column("notification", column)
    op.drop_table("alerting_object")
    for column in ("updated_at", "cap_at", "cap_tokens", "origin", "secrets", "spec", "type"):
        op.drop_column("channel", column)
