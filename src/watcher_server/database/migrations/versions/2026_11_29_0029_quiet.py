"""What keeps something quiet: mutes that end, windows over incidents, notifications that say nothing."""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"

_MUTED = ("pipeline", "pipeline_type")


def upgrade() -> None:
    """Add the columns, the index of the few pipelines whose mutes end, and the state."""
    for table in _MUTED:
        op.add_column(table, sa.Column("mute_until", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "ix_pipeline_mute_until", "pipeline", ["mute_until"], postgresql_where=sa.text("mute_until IS NOT NULL")
    )
    op.add_column("incident", sa.Column("held_by", sa.String(50), nullable=True))
    _allow_states("waiting", "sending", "sent", "merged", "given_up", "skipped")


def downgrade() -> None:
    op.execute("DELETE FROM notification WHERE state = 'skipped'")
    _allow_states("waiting", "sending", "sent", "merged", "given_up")
    op.drop_column("incident", "held_by")
    op.drop_index("ix_pipeline_mute_until", table_name="pipeline")
    for table in _MUTED:
        op.drop_column(table, "mute_until")


def _allow_states(*states: str) -> None:
    op.drop_constraint("state", "notification", type_="check")
    quoted = ", ".join(f"'{state}'" for state in states)
    op.create_check_constraint("state", "notification", f"state IN ({quoted})")
