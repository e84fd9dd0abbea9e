"""What is anomalous about a run, without what was accepted; the normal that an accepted one replaced."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0039"
down_revision = "0038"

# Most runs have no flag, and cost no look at the results.
_ANOMALOUS_METRICS = """
CREATE FUNCTION watcher_anomalous_metrics(execution_id bigint, flags jsonb) RETURNS text[]
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
BEGIN
    IF NOT jsonb_path_exists(flags, '$.* ? (@ == true)') THEN
        RETURN '{}';
    END IF;
    RETURN ARRAY(
        SELECT flag.metric FROM jsonb_each(flags) AS flag (metric, state)
        WHERE flag.state = 'true' AND NOT EXISTS (
            SELECT FROM anomaly_detection_result AS result JOIN anomaly_event AS event ON event.id = result.event_id
            WHERE result.pipeline_execution_id = execution_id AND result.metric_field = flag.metric
                AND event.accepted_at IS NOT NULL
        )
        ORDER BY flag.metric
    );
END $$
"""


def upgrade() -> None:
    """Of a normal that was accepted before, nothing is known of the one that it replaced."""
    op.execute(_ANOMALOUS_METRICS)
    op.add_column(
        "anomaly_detection_rule",
        sa.Column("former_normals", JSONB, nullable=False, server_default=sa.text("'[]'")),
    )


def downgrade() -> None:
    """The normals that were replaced are forgotten."""
    op.drop_column("anomaly_detection_rule", "former_normals")
    op.execute("DROP FUNCTION watcher_anomalous_metrics(bigint, jsonb)")
