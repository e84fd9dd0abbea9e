"""What is held back at a channel when something newer is said there about the same incidents."""

from sqlalchemy import Connection, text

# What is held back about no other incident is said by the new message; what is about others too is said before it. By
# ix_notification_waiting and ix_alert_subject_alert_id.
_SUPERSEDE = """
WITH fresh AS (
    SELECT id, channel, ARRAY(
        SELECT incident_id FROM alert_subject WHERE alert_id = :alert_id AND incident_id IS NOT NULL
    ) AS incidents
    FROM notification WHERE alert_id = :alert_id AND state = 'waiting' AND reason IS NULL
), held AS (
    SELECT notification.id, fresh.id AS said_in, about.incidents <@ fresh.incidents AS is_said
    FROM fresh JOIN notification USING (channel)
    CROSS JOIN LATERAL (
        SELECT ARRAY(
            SELECT incident_id FROM alert_subject AS subject
            WHERE subject.alert_id = notification.alert_id AND incident_id IS NOT NULL
        )
    ) AS about (incidents)
    WHERE notification.id < fresh.id AND notification.state = 'waiting' AND notification.reason IS NOT NULL
        AND about.incidents && fresh.incidents
)
UPDATE notification SET state = CASE WHEN is_said THEN 'merged' ELSE 'waiting' END, reason = NULL,
    sent_in = CASE WHEN is_said THEN said_in END, next_try_at = now(), created_at = now()
FROM held WHERE notification.id = held.id
"""


def supersede(connection: Connection, alert_id: int) -> None:
    """Have nothing older be told after an alert that is told at once: not twice, and not in the wrong order."""
    connection.execute(text(_SUPERSEDE), {"alert_id": alert_id})
