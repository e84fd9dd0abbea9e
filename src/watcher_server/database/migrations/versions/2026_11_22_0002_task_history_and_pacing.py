"""Task history, workers and pacing."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"

TIMESTAMP = sa.DateTime(timezone=True)

# The id that a task's arguments name first, if it is one: arguments may be anything that a caller sent.
TASK_SUBJECT = """
CREATE FUNCTION watcher_task_subject(kwargs jsonb, names text[]) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT value::bigint
    FROM unnest(names) WITH ORDINALITY AS given (name, place), LATERAL (SELECT kwargs ->> name) AS found (value)
    WHERE value ~ '^[1-9][0-9]{0,17}$' AND jsonb_typeof(kwargs -> name) = 'number'
    ORDER BY place LIMIT 1
$$
"""


def upgrade() -> None:
    """Let the outbox hold tasks for later, and keep what became of each."""
    op.execute(TASK_SUBJECT)
    _widen_outbox()
    _create_task()
    _create_worker()
    op.create_table(
        "rate_limit_override",
        sa.Column("task_name", sa.String(length=100), nullable=False),
        sa.Column("per_second", sa.Double(), nullable=True),
        sa.Column("until", TIMESTAMP, nullable=False),
        sa.PrimaryKeyConstraint("task_name", name="pk_rate_limit_override"),
    )


def _widen_outbox() -> None:
    op.add_column("outbox", sa.Column("due_at", TIMESTAMP, server_default=sa.text("now()"), nullable=False))
    op.add_column("outbox", sa.Column("retries", sa.SmallInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column("outbox", sa.Column("options", postgresql.JSONB(), nullable=True))
    op.add_column("outbox", sa.Column("context", postgresql.JSONB(), nullable=True))
    op.drop_constraint("pk_outbox", "outbox")
    op.create_primary_key("pk_outbox", "outbox", ["task_name", "due_at", "id"])
    op.create_index("ix_outbox_task_id", "outbox", ["task_id"])


def _create_task() -> None:
    op.create_table(
        "task",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("kwargs", postgresql.JSONB(), nullable=False),
        sa.Column("queue", sa.String(length=50), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("meta", postgresql.JSONB(), nullable=True),
        sa.Column("retries", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("deaths", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("pipeline_id", sa.BigInteger(), nullable=True),
        sa.Column("pipeline_execution_id", sa.BigInteger(), nullable=True),
        sa.Column("created_at", TIMESTAMP, server_default=sa.text("now()"), nullable=False),
        sa.Column("published_at", TIMESTAMP, nullable=True),
        sa.Column("started_at", TIMESTAMP, nullable=True),
        sa.Column("finished_at", TIMESTAMP, nullable=True),
        sa.Column("worker_id", sa.Uuid(), nullable=True),
        sa.Column("coalesced_into", sa.Uuid(), nullable=True),
        sa.Column("history", postgresql.JSONB(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("traceback", sa.Text(), nullable=True),
        sa.Column("options", postgresql.JSONB(), nullable=True),
        sa.Column("context", postgresql.JSONB(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_task"),
        postgresql_with={"autovacuum_vacuum_scale_factor": "0.02", "autovacuum_vacuum_threshold": "5000"},
    )
    partial = {
        "ix_task_finished_at": (["finished_at"], "finished_at IS NOT NULL"),
        "ix_task_pipeline_id_created_at": (["pipeline_id", "created_at"], "pipeline_id IS NOT NULL"),
        "ix_task_pipeline_execution_id": (["pipeline_execution_id"], "pipeline_execution_id IS NOT NULL"),
        "ix_task_coalesced_into": (["coalesced_into"], "coalesced_into IS NOT NULL"),
        "ix_task_under_way": (["name", "state"], "state IN ('PENDING', 'PROGRESS', 'RETRY')"),
        "ix_task_failed": (["name"], "state = 'FAILURE'"),
    }
    op.create_index("ix_task_created_at", "task", ["created_at"])
    op.create_index("ix_task_name_created_at", "task", ["name", "created_at"])
    for name, (columns, predicate) in partial.items():
        op.create_index(name, "task", columns, postgresql_where=sa.text(predicate))


def _create_worker() -> None:
    op.create_table(
        "worker",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("host", sa.String(length=200), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("queues", postgresql.ARRAY(sa.String(length=50)), nullable=False),
        sa.Column("processes", sa.Integer(), nullable=False),
        sa.Column("active", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("started_at", TIMESTAMP, server_default=sa.text("now()"), nullable=False),
        sa.Column("seen_at", TIMESTAMP, server_default=sa.text("now()"), nullable=False),
        sa.Column("stopped_at", TIMESTAMP, nullable=True),
        sa.Column("metrics_url", sa.String(length=200), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_worker"),
    )


def downgrade() -> None:
    """Forget the history; what waits stays."""
    for table in ("rate_limit_override", "worker", "task"):
        op.drop_table(table)
    op.execute("DROP FUNCTION watcher_task_subject")
    op.drop_index("ix_outbox_task_id", "outbox")
    op.drop_constraint("pk_outbox", "outbox")
    for column in ("context", "options", "retries", "due_at"):
        op.drop_column("outbox", column)
    op.create_primary_key("pk_outbox", "outbox", ["id"])
