"""Names of up to 1,000 bytes, in one form of Unicode, with the spelling that they were first sent in."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"

_PARTS = ("database_name", "schema_name", "table_name", "primary_key")

# Of a name in each table so many characters leave room for an id.
_NAMED = {"pipeline": 979, "address": 979, "pipeline_type": 129, "address_type": 129}

# A stored name in another form than NFC would no longer be found by the name that a client sends. Where the name in NFC
# is taken, the row keeps its data under that name with its id: two names that look alike were two objects, and only a
# person can say whether they are one.
_NORMALIZE = """
UPDATE {table} SET name = CASE
    WHEN EXISTS (SELECT FROM {table} AS other WHERE other.name = normalize({table}.name, NFC))
        OR EXISTS (
            SELECT FROM {table} AS other
            WHERE other.id < {table}.id AND other.name IS NOT NFC NORMALIZED
                AND normalize(other.name, NFC) = normalize({table}.name, NFC)
        )
    THEN left(normalize(name, NFC), {most}) || '~' || id
    ELSE normalize(name, NFC)
END
WHERE name IS NOT NFC NORMALIZED
"""

# A column that the view or a computed column reads cannot change its type.
_SLUG = "trim(both '-' from regexp_replace(name, '[^a-z0-9_]+', '-', 'g'))"


def _with_names_of(length: int, parts: int) -> None:
    view = op.get_bind().scalar(sa.text("SELECT pg_get_viewdef('pipeline_effective'::regclass)"))
    op.execute("DROP VIEW pipeline_effective")
    op.drop_column("pipeline", "ping_slug")
    for table in ("pipeline", "address"):
        op.alter_column(table, "name", type_=sa.String(length), existing_nullable=False)
    for part in _PARTS:
        op.alter_column("address", part, type_=sa.String(parts))
    op.add_column("pipeline", sa.Column("ping_slug", sa.Text, sa.Computed(_SLUG, persisted=True)))
    op.create_index("ix_pipeline_ping_slug", "pipeline", ["ping_slug"])
    op.get_bind().exec_driver_sql(f"CREATE VIEW pipeline_effective AS {view}")


def upgrade() -> None:
    """Make room, and bring the names that are stored into the form.

    The table of pipelines is written anew for its slug; it has a row per pipeline and not per run.
    """
    _with_names_of(1000, 255)
    for table in ("pipeline", "address"):
        op.add_column(table, sa.Column("display_name", sa.String(1000)))
    # Other encodings have no other form.
    if op.get_bind().scalar(sa.text("SELECT current_setting('server_encoding') = 'UTF8'")):
        for table, most in _NAMED.items():
            op.execute(_NORMALIZE.format(table=table, most=most))
    op.add_column(
        "address_type", sa.Column("case_sensitive", sa.Boolean, nullable=False, server_default=sa.text("false"))
    )


def downgrade() -> None:
    """As it was; a name that is longer than it could be stops it."""
    op.drop_column("address_type", "case_sensitive")
    for table in ("address", "pipeline"):
        op.drop_column(table, "display_name")
    _with_names_of(150, 50)
