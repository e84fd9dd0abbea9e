"""Pipelines and addresses that were retired, and the edges that left the lineage with them."""

import sqlalchemy as sa
from alembic import op

from watcher_server.database.migrations.pipeline_effective import read_view, replace_in_view

revision = "0026"
down_revision = "0025"

# The view as it is, and as it is from now on: a pipeline in the archive is not active, so that no check looks at it.
_BEFORE = "pipeline.active,"
_NOW = "pipeline.active AND pipeline.archived_at IS NULL AS active, pipeline.archived_at, pipeline.display_name,"


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
    replace_in_view(_BEFORE, _NOW)


def downgrade() -> None:
    """As it was; what was in the archive is as any other, without the edges that had left."""
    view = read_view()
    # The database writes the expression in its own way, with brackets.
    start = view.index("(pipeline.active AND")
    end = view.index("pipeline.display_name,", start) + len("pipeline.display_name,")
    replace_in_view(view[start:end], _BEFORE)
    op.drop_table("archived_address_lineage")
    for table in ("address", "pipeline"):
        op.drop_column(table, "forgotten_at")
        op.drop_column(table, "archived_at")
