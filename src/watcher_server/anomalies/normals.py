"""The normal that a rule has learnt from since it was accepted, and those that it replaced."""

from typing import Final

# What former_normals becomes when another normal replaces the present one; the latest 20 are kept.
WITH_PRESENT_NORMAL: Final = """
(CASE WHEN jsonb_array_length(former_normals) >= 20 THEN former_normals - 0 ELSE former_normals END)
    || jsonb_build_object('from', normal_from, 'until', normal_until, 'replaced_at', now())
"""

# The normal that was replaced last is the present one again, and the events that were accepted since are open.
TAKE_BACK: Final = """
WITH taken AS (
    SELECT id, normal_from, former_normals -> -1 AS former FROM anomaly_detection_rule WHERE id = :rule_id
), rule AS (
    UPDATE anomaly_detection_rule AS rule SET normal_from = CAST(former ->> 'from' AS timestamptz),
        normal_until = CAST(former ->> 'until' AS timestamptz), former_normals = rule.former_normals - -1,
        updated_at = now()
    FROM taken WHERE rule.id = taken.id
)
UPDATE anomaly_event AS event SET accepted_at = NULL FROM taken
WHERE event.rule_id = taken.id AND event.last_at >= taken.normal_from
    AND event.accepted_at >= coalesce(CAST(former ->> 'replaced_at' AS timestamptz), '-infinity')
"""
