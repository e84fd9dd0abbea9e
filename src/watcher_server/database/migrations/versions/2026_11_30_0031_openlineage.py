"""Events of OpenLineage, and what they make known of jobs, runs and datasets."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, UUID

from watcher_server.database.migrations.pipeline_effective import replace_in_view

revision = "0031"
down_revision = "0030"

_MOMENT = sa.DateTime(timezone=True)
_NOW = sa.func.now()
_EMPTY = sa.text("'{}'")
_NO = sa.text("false")

# The view as it is, and as it is from now on: a pipeline whose runs say which tables they wrote, and not how many rows,
# wrote when such a run ended.
_BEFORE = "GREATEST(pipeline.last_target_insert, pipeline.last_target_update, pipeline.last_target_soft_delete)"
_AFTER = (
    "GREATEST(pipeline.last_target_insert, pipeline.last_target_update, pipeline.last_target_soft_delete, "
    "pipeline.last_output)"
)


def _create_events() -> None:
    op.execute("CREATE SEQUENCE openlineage_event_id_seq")
    op.create_table(
        "openlineage_event",
        sa.Column(
            "id", sa.BigInteger, nullable=False, server_default=sa.text("nextval('openlineage_event_id_seq'::regclass)")
        ),
        sa.Column("received_at", _MOMENT, nullable=False, server_default=_NOW),
        sa.Column("applied_at", _MOMENT),
        sa.Column("lane", sa.String(200), nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("id", "received_at", name="pk_openlineage_event"),
        postgresql_partition_by="RANGE (received_at)",
    )
    op.execute("ALTER SEQUENCE openlineage_event_id_seq OWNED BY openlineage_event.id")
    # What no day has a partition for is stored all the same.
    op.execute("CREATE TABLE openlineage_event_default PARTITION OF openlineage_event DEFAULT")
    op.create_index(
        "ix_openlineage_event_waiting",
        "openlineage_event",
        ["lane", "id"],
        postgresql_where=sa.text("applied_at IS NULL"),
    )
    op.create_index("ix_openlineage_event_id", "openlineage_event", ["id"])
    op.create_table(
        "openlineage_failed_event",
        sa.Column("id", sa.BigInteger, nullable=False),
        sa.Column("received_at", _MOMENT, nullable=False),
        sa.Column("failed_at", _MOMENT, nullable=False, server_default=_NOW),
        sa.Column("lane", sa.String(200), nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_openlineage_failed_event"),
    )
    op.create_index("ix_openlineage_failed_event_failed_at", "openlineage_failed_event", ["failed_at"])


def _create_known() -> None:
    op.create_table(
        "openlineage_job",
        sa.Column("id", sa.BigInteger, sa.Identity(), nullable=False),
        sa.Column("key", UUID(), nullable=False),
        sa.Column("namespace", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("pipeline_id", sa.BigInteger, sa.ForeignKey("pipeline.id", name="fk_openlineage_job_pipeline_id")),
        sa.Column("adopted", sa.Boolean, nullable=False, server_default=_NO),
        sa.Column("integration", sa.String(50)),
        sa.Column("facts", JSONB, nullable=False, server_default=_EMPTY),
        sa.Column("last_event_at", _MOMENT, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False, server_default=_NOW),
        sa.PrimaryKeyConstraint("id", name="pk_openlineage_job"),
        sa.UniqueConstraint("key", name="uq_openlineage_job_key"),
    )
    op.create_index("ix_openlineage_job_pipeline_id", "openlineage_job", ["pipeline_id"])
    op.create_table(
        "openlineage_run",
        sa.Column("key", UUID(), nullable=False),
        sa.Column(
            "job_id",
            sa.BigInteger,
            sa.ForeignKey("openlineage_job.id", name="fk_openlineage_run_job_id"),
            nullable=False,
        ),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("parent_key", UUID()),
        sa.Column("into_key", UUID()),
        sa.Column("rolled_up", sa.Boolean, nullable=False, server_default=_NO),
        sa.Column("execution_id", sa.BigInteger),
        sa.Column("attempt", sa.SmallInteger, nullable=False, server_default=sa.text("1")),
        sa.Column("ended_at", _MOMENT),
        sa.Column("failed", sa.Boolean, nullable=False, server_default=_NO),
        sa.Column("last_event_at", _MOMENT, nullable=False),
        sa.Column("state", JSONB, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_openlineage_run"),
        postgresql_with={"fillfactor": "70"},
    )
    for column in ("execution_id", "parent_key", "into_key"):
        op.create_index(
            f"ix_openlineage_run_{column}",
            "openlineage_run",
            [column],
            postgresql_where=sa.text(f"{column} IS NOT NULL"),
        )
    for column in ("job_id", "last_event_at"):
        op.create_index(f"ix_openlineage_run_{column}", "openlineage_run", [column])
    op.create_table(
        "openlineage_dataset",
        sa.Column("key", UUID(), nullable=False),
        sa.Column("namespace", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("address_id", sa.BigInteger, sa.ForeignKey("address.id", name="fk_openlineage_dataset_address_id")),
        sa.Column("alias", sa.Boolean, nullable=False, server_default=_NO),
        sa.Column("disabled", sa.Boolean, nullable=False, server_default=_NO),
        sa.Column("facts", JSONB, nullable=False, server_default=_EMPTY),
        sa.Column("last_seen_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_openlineage_dataset"),
    )
    op.create_index("ix_openlineage_dataset_address_id", "openlineage_dataset", ["address_id"])


def _create_counts() -> None:
    op.create_table(
        "openlineage_source",
        sa.Column("lane", sa.String(200), nullable=False),
        sa.Column("producer", sa.String(300), nullable=False),
        sa.Column("integration", sa.String(50), nullable=False),
        *(
            sa.Column(name, sa.BigInteger, nullable=False, server_default=sa.text("0"))
            for name in ("applied", "repeated", "ignored", "failed")
        ),
        sa.Column("first_at", _MOMENT, nullable=False, server_default=_NOW),
        sa.Column("last_at", _MOMENT, nullable=False, server_default=_NOW),
        sa.PrimaryKeyConstraint("lane", "producer", name="pk_openlineage_source"),
    )
    op.create_table(
        "openlineage_dropped_facet",
        sa.Column("facet", sa.String(100), nullable=False),
        sa.Column("known", sa.Boolean, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("facet", "known", name="pk_openlineage_dropped_facet"),
    )
    op.create_table(
        "address_schema_change",
        sa.Column("id", sa.BigInteger, sa.Identity(), nullable=False),
        sa.Column(
            "address_id",
            sa.BigInteger,
            sa.ForeignKey("address.id", name="fk_address_schema_change_address_id"),
            nullable=False,
        ),
        sa.Column(
            "pipeline_id",
            sa.BigInteger,
            sa.ForeignKey("pipeline.id", name="fk_address_schema_change_pipeline_id", ondelete="SET NULL"),
        ),
        sa.Column("at", _MOMENT, nullable=False),
        *(sa.Column(name, JSONB, nullable=False) for name in ("added", "removed", "retyped")),
        sa.PrimaryKeyConstraint("id", name="pk_address_schema_change"),
    )
    op.create_index("ix_address_schema_change_address_id", "address_schema_change", ["address_id", "id"])
    op.create_index("ix_address_schema_change_pipeline_id", "address_schema_change", ["pipeline_id"])


def upgrade() -> None:
    """Every edge that is known was declared; nothing was read from OpenLineage yet."""
    _create_events()
    _create_known()
    _create_counts()
    op.add_column("pipeline", sa.Column("openlineage", JSONB))
    op.add_column("pipeline", sa.Column("last_output", _MOMENT))
    op.add_column("address", sa.Column("openlineage", JSONB))
    op.add_column(
        "address_lineage", sa.Column("origin", sa.String(11), nullable=False, server_default=sa.text("'declared'"))
    )
    op.add_column("address_lineage", sa.Column("last_seen_at", _MOMENT))
    op.create_index(
        "ix_address_lineage_last_seen_at",
        "address_lineage",
        ["last_seen_at"],
        postgresql_where=sa.text("last_seen_at IS NOT NULL"),
    )
    replace_in_view(_BEFORE, _AFTER)


def downgrade() -> None:
    """Executions, pipelines and addresses stay; edges that were read from events stay as declared ones."""
    replace_in_view(_AFTER, _BEFORE)
    op.drop_index("ix_address_lineage_last_seen_at", "address_lineage")
    for table, column in (
        ("address_lineage", "last_seen_at"),
        ("address_lineage", "origin"),
        ("address", "openlineage"),
        ("pipeline", "last_output"),
        ("pipeline", "openlineage"),
    ):
        op.drop_column(table, column)
    for table in (
        "address_schema_change",
        "openlineage_dropped_facet",
        "openlineage_source",
        "openlineage_dataset",
        "openlineage_run",
        "openlineage_job",
        "openlineage_failed_event",
        "openlineage_event",
    ):
        op.drop_table(table)
