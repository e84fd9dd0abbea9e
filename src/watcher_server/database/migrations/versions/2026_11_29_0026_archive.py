"""Pipelines and addresses that were retired, and the edges that left the lineage with them.

Revision ID: 0026
Revises: 0025
"""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

# The view as it is, and as it is from now on: a pipeline in the archive is not active, so that no check looks at it.
# Its text is taken from the database, so that this does not depend on what else earlier revisions put into it.
_BEFORE = "pipeline.active,"
_NOW = "pipeline.active AND pipeline.archived_at IS NULL AS active, pipeline.archived_at, pipeline.display_name,"


def _replace_in_view(before: str, now: str) -> None:
    view = op.get_bind().scalar(sa.text("SELECT pg_get_viewdef('pipeline_effective'::regclass)"))
    if view.count(before) != 1:
        raise ValueError(f"The view pipeline_effective has {view.count(before)} times {before!r}")
    op.execute("DROP VIEW pipeline_effective")
    op.get_bind().exec_driver_sql(f"CREATE VIEW pipeline_effective AS {view.replace(before, now)}")


def upgrade() -> None:
    """Nothing is in the archive at first."""
    for table in ("pipeline", "address"):
        op.add_column(table, sa.Column("archived_at", sa.DateTime(timezone=True)))
        op.add_column(table, sa.Column("forgotten_at", sa.DateTime(timezone=True)))
    op.create_table(
        "archived_address_lineage",
        *(
            sa.Column(
                column,
                sa.BigInteger,
                sa.ForeignKey(f"{table}.id", name=f"fk_archived_address_lineage_{column}"),
                primary_key=True,
            )
            for column, table in (
                ("pipeline_id", "pipeline"),
                ("source_address_id", "address"),
                ("target_address_id", "address"),
            )
        ),
    )
    for column in ("source_address_id", "target_address_id"):
        op.create_index(f"ix_archived_address_lineage_{column}", "archived_address_lineage", [column])
    _replace_in_view(_BEFORE, _NOW)


def downgrade() -> None:
    """As it was; what was in the archive is as any other, without the edges that had left."""
    view = op.get_bind().scalar(sa.text("SELECT pg_get_viewdef('pipeline_effective'::regclass)"))
    # The database writes the expression in its own way, with brackets.
    start = view.index("(pipeline.active AND")
    end = view.index("pipeline.display_name,", start) + len("pipeline.display_name,")
    _replace_in_view(view[start:end], _BEFORE)
    op.drop_table("archived_address_lineage")
    for table in ("address", "pipeline"):
        op.drop_column(table, "forgotten_at")
        op.drop_column(table, "archived_at")
