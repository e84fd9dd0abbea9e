"""Ping URLs: the secret of each pipeline's, keys for slugs, the pace of each, and the output of runs."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"

# What a run that failed says of its error: the first text of its metadata that is named so, else the last lines of its
# output without the colours of a terminal; at most 300 characters.
_RUN_ERROR = r"""
CREATE FUNCTION watcher_run_error(metadata jsonb, output text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN coalesce(
    (SELECT left(btrim(metadata ->> named.key, E' \t\r\n'), 300)
    FROM unnest(ARRAY['error', 'error_message', 'exception', 'message']) WITH ORDINALITY AS named (key, place)
    WHERE jsonb_typeof(metadata -> named.key) = 'string'
        AND btrim(metadata ->> named.key, E' \t\r\n') <> ''
    ORDER BY named.place LIMIT 1),
    (SELECT right(string_agg(btrim(last.line), ' | ' ORDER BY last.place), 300)
    FROM (
        SELECT line, place
        FROM regexp_split_to_table(
            regexp_replace(right(output, 4000), E'\x1b\\[[0-9;?]*[A-Za-z]|[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]', '', 'g'),
            E'[\r\n]+'
        ) WITH ORDINALITY AS lines (line, place)
        WHERE btrim(line) <> '' ORDER BY place DESC LIMIT 3
    ) AS last)
)
"""


def upgrade() -> None:
    """Give every pipeline the secret of its URL, and its slug.

    Both columns write the table anew, which has a row per pipeline and not per run. The table of runs gets a column
    that is empty at first, and no index.
    """
    op.add_column(
        "pipeline", sa.Column("ping_uuid", sa.Uuid, nullable=False, server_default=sa.text("gen_random_uuid()"))
    )
    op.create_unique_constraint("uq_pipeline_ping_uuid", "pipeline", ["ping_uuid"])
    op.add_column(
        "pipeline",
        sa.Column(
            "ping_slug",
            sa.Text,
            sa.Computed("trim(both '-' from regexp_replace(name, '[^a-z0-9_]+', '-', 'g'))", persisted=True),
        ),
    )
    op.create_index("ix_pipeline_ping_slug", "pipeline", ["ping_slug"])
    op.add_column("pipeline_execution", sa.Column("output", sa.Text))
    op.execute(_RUN_ERROR)
    op.create_table(
        "ping_key",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("name", sa.String(150), nullable=False),
        sa.Column("key_hash", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.UniqueConstraint("name", name="uq_ping_key_name"),
        sa.UniqueConstraint("key_hash", name="uq_ping_key_key_hash"),
    )
    op.create_table(
        "ping_pace",
        sa.Column(
            "pipeline_id",
            sa.BigInteger,
            sa.ForeignKey("pipeline.id", name="fk_ping_pace_pipeline_id", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("free_at", sa.DateTime(timezone=True), nullable=False),
        prefixes=["UNLOGGED"],
        postgresql_with={"fillfactor": "50"},
    )
    op.create_table(
        "ping_run",
        sa.Column("pipeline_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("rid", sa.Uuid, primary_key=True),
        sa.Column("execution_id", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_ping_run_execution_id", "ping_run", ["execution_id"])


def downgrade() -> None:
    """As it was; every ping URL is forgotten, and the output of runs."""
    for table in ("ping_run", "ping_pace", "ping_key"):
        op.drop_table(table)
    op.execute("DROP FUNCTION watcher_run_error")
    op.drop_column("pipeline_execution", "output")
    op.drop_column("pipeline", "ping_slug")
    op.drop_column("pipeline", "ping_uuid")
