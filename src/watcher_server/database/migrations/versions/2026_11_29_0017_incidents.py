"""Incidents, their timeline, and the delivery of alerts by channel."""

from datetime import datetime

import sqlalchemy as sa
from alembic import op

from watcher_server.database.migrations.pipeline_effective import IMPORTANCE, view

revision = "0017"
down_revision = "0016"


def _moment(name: str, *, default: bool = False) -> sa.Column[datetime]:
    return sa.Column(
        name,
        sa.DateTime(timezone=True),
        nullable=not default,
        server_default=sa.text("now()") if default else None,
    )


def upgrade() -> None:
    """Add the tables, move what is known of deliveries, and adopt what is wrong right now."""
    _add_importance()
    _create_incidents()
    _create_deliveries()
    op.execute(_ADOPT)
    op.execute(_TELL_OF_ADOPTION)


def _add_importance() -> None:
    for table in ("pipeline", "pipeline_type"):
        op.add_column(table, sa.Column("owner", sa.String(150)))
        op.add_column(table, sa.Column("criticality", sa.String(6)))
        op.add_column(table, sa.Column("runbook_url", sa.String(500)))
        op.create_check_constraint("criticality", table, "criticality IN ('low', 'normal', 'high')")
    op.add_column("pipeline", sa.Column("fail_after", sa.Integer, nullable=False, server_default=sa.text("1")))
    op.create_check_constraint("fail_after", "pipeline", "fail_after >= 1")
    op.execute(f"CREATE OR REPLACE VIEW pipeline_effective AS {view(IMPORTANCE)}")


def _create_incidents() -> None:
    op.create_table(
        "incident",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column(
            "pipeline_id",
            sa.BigInteger,
            sa.ForeignKey("pipeline.id", name="fk_incident_pipeline_id", ondelete="CASCADE"),
        ),
        sa.Column("subject", sa.String(200), nullable=False, server_default=sa.text("''")),
        sa.Column("state", sa.String(12), nullable=False, server_default=sa.text("'open'")),
        sa.Column("level", sa.String(10), nullable=False),
        sa.Column("detail", sa.Text, nullable=False, server_default=sa.text("''")),
        sa.Column("count", sa.Integer, nullable=False, server_default=sa.text("1")),
        sa.Column("execution_id", sa.BigInteger),
        sa.Column("task_id", sa.Uuid),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        _moment("opened_at", default=True),
        _moment("changed_at", default=True),
        _moment("resolved_at"),
        sa.Column("resolution", sa.String(6)),
        sa.Column(
            "root_id", sa.BigInteger, sa.ForeignKey("incident.id", name="fk_incident_root_id", ondelete="SET NULL")
        ),
        _moment("speaks_at"),
        _moment("told_at"),
        _moment("tell_resolved_at"),
        sa.Column("assignee", sa.String(150)),
        sa.Column("acknowledged_by", sa.String(150)),
        _moment("acknowledged_at"),
        _moment("acknowledged_until"),
        sa.Column("snooze", sa.String(8)),
        _moment("snoozed_until"),
        sa.Column("flapping", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("quiet", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("version", sa.Integer, nullable=False, server_default=sa.text("1")),
        sa.CheckConstraint("state IN ('open', 'acknowledged', 'resolved')", name="state"),
        sa.CheckConstraint("(state = 'resolved') = (resolved_at IS NOT NULL)", name="resolved"),
        sa.CheckConstraint("resolution IN ('auto', 'hand', 'paused')", name="resolution"),
        sa.CheckConstraint("snooze IN ('time', 'next_run', 'worse')", name="snooze"),
    )
    op.create_index(
        "uq_incident_open",
        "incident",
        ["kind", "pipeline_id", "subject"],
        unique=True,
        postgresql_nulls_not_distinct=True,
        postgresql_where=sa.text("state <> 'resolved'"),
    )
    op.create_index(
        "ix_incident_current",
        "incident",
        ["pipeline_id"],
        postgresql_where=sa.text("state <> 'resolved' OR quiet OR flapping"),
    )
    op.create_index("ix_incident_pipeline_id", "incident", ["pipeline_id", "kind", "subject", "id"])
    op.create_index("ix_incident_opened_at", "incident", ["opened_at"])
    op.create_index("ix_incident_resolved_at", "incident", ["resolved_at"])
    op.create_index(
        "ix_incident_tell_resolved_at",
        "incident",
        ["tell_resolved_at"],
        postgresql_where=sa.text("tell_resolved_at IS NOT NULL"),
    )
    op.create_index("ix_incident_root_id", "incident", ["root_id"], postgresql_where=sa.text("root_id IS NOT NULL"))
    op.create_table(
        "incident_event",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column(
            "incident_id",
            sa.BigInteger,
            sa.ForeignKey("incident.id", name="fk_incident_event_incident_id", ondelete="CASCADE"),
            nullable=False,
        ),
        _moment("at", default=True),
        sa.Column("change", sa.String(16), nullable=False),
        sa.Column("actor", sa.String(150), nullable=False),
        sa.Column("text", sa.Text),
    )
    op.create_index("ix_incident_event_incident_id", "incident_event", ["incident_id", "id"])
    op.create_table(
        "incident_tally",
        sa.Column("measure", sa.String(12), primary_key=True),
        sa.Column("kind", sa.String(10), primary_key=True),
        sa.Column("at_most", sa.Float, primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
    )


def _create_deliveries() -> None:
    op.add_column("alert", sa.Column("kind", sa.String(10)))
    op.add_column("alert", sa.Column("change", sa.String(10)))
    op.create_table(
        "alert_subject",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column(
            "alert_id",
            sa.BigInteger,
            sa.ForeignKey("alert.id", name="fk_alert_subject_alert_id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column(
            "incident_id",
            sa.BigInteger,
            sa.ForeignKey("incident.id", name="fk_alert_subject_incident_id", ondelete="CASCADE"),
        ),
        sa.Column("pipeline_id", sa.BigInteger),
        sa.Column("execution_id", sa.BigInteger),
        sa.Column("task_id", sa.Uuid),
    )
    for column in ("alert_id", "incident_id", "pipeline_id", "execution_id"):
        op.create_index(f"ix_alert_subject_{column}", "alert_subject", [column])
    op.create_table(
        "channel",
        sa.Column("name", sa.String(50), primary_key=True),
        sa.Column("lease", sa.Uuid),
        _moment("leased_until"),
        sa.Column("failures", sa.Integer, nullable=False, server_default=sa.text("0")),
        _moment("failing_since"),
        _moment("paused_until"),
        sa.Column("gone", sa.Boolean, nullable=False, server_default=sa.text("false")),
        _moment("last_sent_at"),
        sa.Column("last_error", sa.Text),
    )
    op.create_table(
        "notification",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column(
            "alert_id",
            sa.BigInteger,
            sa.ForeignKey("alert.id", name="fk_notification_alert_id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("channel", sa.String(50), nullable=False),
        sa.Column("state", sa.String(10), nullable=False, server_default=sa.text("'waiting'")),
        _moment("created_at", default=True),
        _moment("next_try_at", default=True),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("perhaps_sent", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("refused", sa.Boolean, nullable=False, server_default=sa.text("false")),
        _moment("asked_at"),
        _moment("sent_at"),
        sa.Column("sent_to", sa.String(20)),
        sa.Column(
            "sent_in",
            sa.BigInteger,
            sa.ForeignKey("notification.id", name="fk_notification_sent_in", ondelete="SET NULL"),
        ),
        sa.Column("last_error", sa.Text),
        sa.UniqueConstraint("alert_id", "channel", name="uq_notification_alert_id"),
        sa.CheckConstraint("state IN ('waiting', 'sending', 'sent', 'merged', 'given_up')", name="state"),
    )
    op.create_index(
        "ix_notification_waiting",
        "notification",
        ["channel", "id"],
        postgresql_where=sa.text("state IN ('waiting', 'sending')"),
    )
    op.create_index(
        "ix_notification_sent_in", "notification", ["sent_in"], postgresql_where=sa.text("sent_in IS NOT NULL")
    )
    op.execute(_MOVE_DELIVERIES)
    for column in ("delivered_at", "delivered_to", "attempts", "last_error"):
        op.drop_column("alert", column)


# The channel without a configuration: Slack where its webhook is set, else the log. What nobody delivered within a day
# is no news any more.
_MOVE_DELIVERIES = """
INSERT INTO notification
    (alert_id, channel, state, created_at, next_try_at, attempts, sent_at, sent_to, last_error)
SELECT id, 'default',
    CASE WHEN delivered_at IS NOT NULL THEN 'sent'
        WHEN created_at < now() - interval '24 hours' THEN 'given_up' ELSE 'waiting' END,
    created_at, created_at, attempts, delivered_at, delivered_to, last_error
FROM alert ORDER BY id
"""


# What holds at this moment, as the pages said it until now.
_ADOPT = """
INSERT INTO incident (kind, pipeline_id, subject, level, since, count, execution_id, detail, told_at)
SELECT 'failing', pipeline.id, '', 'ERROR', ended.end_date, 1, ended.id, 'Execution ID ' || ended.id, now()
FROM pipeline CROSS JOIN LATERAL (
    SELECT id, end_date, completed_successfully FROM pipeline_execution AS execution
    WHERE execution.pipeline_id = pipeline.id AND end_date IS NOT NULL
    ORDER BY start_date DESC, id DESC LIMIT 1
) AS ended
WHERE pipeline.active AND NOT ended.completed_successfully
UNION ALL
SELECT 'late', pipeline.id, '', 'WARNING', start_date + make_interval(secs => seconds_threshold), 1, going.id,
    'running since ' || to_char(start_date AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC', now()
FROM pipeline_effective AS pipeline CROSS JOIN LATERAL (
    SELECT execution.id, start_date, seconds_threshold FROM pipeline_execution AS execution
    JOIN timeliness_pipeline_execution_log AS log
        ON log.pipeline_execution_id = execution.id AND log.severity = 'failure'
    WHERE execution.pipeline_id = pipeline.id AND end_date IS NULL
    ORDER BY start_date DESC, execution.id DESC LIMIT 1
) AS going
WHERE pipeline.active AND NOT pipeline.timeliness_muted
UNION ALL
SELECT 'stale', pipeline.id, '', 'WARNING', pipeline.stale_at, 1, NULL,
    CASE WHEN last_write IS NULL THEN 'never written'
        ELSE 'last DML ' || to_char(last_write AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC' END
        || ', expected every ' || pipeline.freshness_number || ' ' || pipeline.freshness_datepart || '(s)', now()
FROM pipeline_effective AS pipeline
JOIN freshness_pipeline_log AS log ON log.pipeline_id = pipeline.id AND log.severity = 'failure'
    AND log.last_dml_timestamp IS NOT DISTINCT FROM pipeline.last_write
WHERE pipeline.active AND NOT pipeline.freshness_muted AND pipeline.stale_at < now()
UNION ALL
SELECT 'missed', pipeline.id, '', 'WARNING', missed.since, missed.number, NULL,
    'expected ' || to_char(last_missed_run AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') || ' UTC', now()
FROM pipeline_effective AS pipeline CROSS JOIN LATERAL (
    SELECT min(expected_at) AS since, count(*) AS number FROM missed_run_log AS log
    WHERE log.pipeline_id = pipeline.id AND expected_at > coalesce((
        SELECT max(start_date) FROM pipeline_execution AS execution WHERE execution.pipeline_id = pipeline.id
    ), '-infinity')
) AS missed
WHERE pipeline.active AND NOT pipeline.timeliness_muted AND pipeline.schedule IS NOT NULL
    AND pipeline.last_missed_run >= missed.since
UNION ALL
SELECT 'anomalous', pipeline.id, '', 'WARNING', ended.end_date, 1, ended.id, 'Execution ID ' || ended.id, now()
FROM pipeline CROSS JOIN LATERAL (
    SELECT id, end_date, anomaly_flags FROM pipeline_execution AS execution
    WHERE execution.pipeline_id = pipeline.id AND completed_successfully
    ORDER BY start_date DESC, id DESC LIMIT 1
) AS ended
WHERE pipeline.active AND EXISTS (
    SELECT FROM anomaly_detection_result AS result
    JOIN anomaly_detection_rule AS rule ON rule.id = result.rule_id AND rule.active
    LEFT JOIN anomaly_event AS event ON event.id = result.event_id
    WHERE result.pipeline_execution_id = ended.id AND event.accepted_at IS NULL
        AND ended.anomaly_flags -> result.metric_field = 'true'
)
UNION ALL
SELECT 'queue', NULL, queue, level, changed_at, 1, NULL, '', now()
FROM queue_alert_state WHERE level IS NOT NULL
"""

# One message for all of them, and none where nothing is wrong.
_TELL_OF_ADOPTION = """
WITH event AS (
    INSERT INTO incident_event (incident_id, change, actor, text)
    SELECT id, 'opened', 'watcher', 'It held already when Watcher began to keep incidents.' FROM incident
), counted AS (
    SELECT kind, count(*) AS number FROM incident GROUP BY kind
), told AS (
    INSERT INTO alert (dedupe_key, level, title, message, details, change)
    SELECT 'incidents adopted', 'INFO', 'Incidents',
        'From now on Watcher keeps what is wrong as incidents, and says when each is over - '
            || sum(number) || ' are open already',
        jsonb_agg(jsonb_build_array(kind, number::text) ORDER BY kind), 'opened'
    FROM counted HAVING count(*) > 0
    ON CONFLICT (dedupe_key) DO NOTHING
    RETURNING id
), subject AS (
    INSERT INTO alert_subject (alert_id, incident_id, pipeline_id, execution_id)
    SELECT told.id, incident.id, incident.pipeline_id, incident.execution_id FROM told, incident
), notified AS (
    INSERT INTO notification (alert_id, channel) SELECT id, 'default' FROM told
)
INSERT INTO outbox (task_name, kwargs, queue)
SELECT 'deliver_alert_task', jsonb_build_object('alert_id', id), 'alerts' FROM told
"""


def downgrade() -> None:
    """As it was; what the incidents knew is gone, what was told and whether it arrived is kept."""
    op.add_column("alert", sa.Column("delivered_at", sa.DateTime(timezone=True)))
    op.add_column("alert", sa.Column("delivered_to", sa.String(20)))
    op.add_column("alert", sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")))
    op.add_column("alert", sa.Column("last_error", sa.Text))
    op.execute("""
        UPDATE alert SET delivered_at = sent_at, delivered_to = sent_to, attempts = notification.attempts,
            last_error = notification.last_error
        FROM notification WHERE notification.alert_id = alert.id AND notification.channel = 'default'
    """)
    for table in ("notification", "channel", "alert_subject", "incident_tally", "incident_event", "incident"):
        op.drop_table(table)
    for column in ("kind", "change"):
        op.drop_column("alert", column)
    op.execute("DROP VIEW pipeline_effective")
    op.execute(f"CREATE VIEW pipeline_effective AS {view()}")
    op.drop_column("pipeline", "fail_after")
    for table in ("pipeline", "pipeline_type"):
        for column in ("owner", "criticality", "runbook_url"):
            op.drop_column(table, column)
