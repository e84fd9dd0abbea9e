"""What must hold of a cluster once it has come to rest, whatever happened to it before."""

from collections import Counter
from collections.abc import Sequence

from sqlalchemy import Connection, text

from tests.support.cluster import LIMIT_SECONDS, Cluster
from tests.support.live import wait_until

# Runs that were reported, with what their analysis must have found: of an outlier every rule of its pipeline finds
# that, of others none.
_REPORTED = """
WITH reported AS (
    SELECT execution.*, coalesce(expected.flags, '{}') AS expected_flags, coalesce(expected.rules, 0) AS expected_rules
    FROM pipeline_execution AS execution LEFT JOIN LATERAL (
        SELECT jsonb_object_agg(metric_field, true) AS flags, count(*) AS rules
        FROM anomaly_detection_rule AS rule
        WHERE rule.pipeline_id = execution.pipeline_id AND execution.inserts = 0
    ) AS expected ON true
    WHERE completed_successfully AND execution_metadata IS NULL
)
"""

_TRUE_PAIRS = """
WITH RECURSIVE pair (ancestor, descendant, depth) AS (
    SELECT id, id, 0 FROM pipeline_execution WHERE execution_metadata IS NULL
    UNION ALL
    SELECT execution.parent_id, descendant, depth + 1
    FROM pair JOIN pipeline_execution AS execution ON execution.id = ancestor
    WHERE execution.parent_id IS NOT NULL
), written AS (
    SELECT parent_execution_id, child_execution_id, closure.depth
    FROM pipeline_execution_closure AS closure
    JOIN pipeline_execution AS execution ON execution.id = child_execution_id AND execution_metadata IS NULL
)
"""

# Every walk through the lineage, each no longer than there are addresses: the shortest are the closure.
_TRUE_DEPTHS = """
WITH RECURSIVE walk (source, target, depth) AS (
    SELECT id, id, 0 FROM address
    UNION
    SELECT source, target_address_id, depth + 1
    FROM walk JOIN address_lineage ON source_address_id = target
    WHERE depth < (SELECT count(*) FROM address)
), shortest AS (
    SELECT source, target, min(depth) AS depth FROM walk GROUP BY source, target
), written AS (
    SELECT source_address_id, target_address_id, depth FROM address_lineage_closure
)
"""

# What is wrong, in words, and the ids of what it is wrong with.
_VIOLATIONS = {
    "reported and not analysed exactly once": f"""{_REPORTED}
        SELECT reported.id FROM reported
        LEFT JOIN task ON task.pipeline_execution_id = reported.id AND task.name = 'detect_anomalies_task'
        GROUP BY reported.id HAVING count(task.id) <> 1 OR bool_or(task.state <> 'SUCCESS')""",
    "flagged otherwise than its numbers call for": f"""{_REPORTED}
        SELECT id FROM reported WHERE anomaly_flags <> expected_flags""",
    "without exactly one result for each rule that it breaks": f"""{_REPORTED}
        SELECT reported.id FROM reported
        LEFT JOIN anomaly_detection_result AS result ON result.pipeline_execution_id = reported.id
        GROUP BY reported.id, expected_rules HAVING count(result.id) <> expected_rules""",
    "an event of anomalies that was not alerted": """
        SELECT event.id FROM anomaly_event AS event WHERE NOT alerted OR NOT EXISTS (
            SELECT FROM anomaly_detection_result AS result
            JOIN alert ON alert.dedupe_key = 'anomaly:' || result.pipeline_execution_id
            WHERE result.event_id = event.id)""",
    "an alert of anomalies that no event called for": """
        SELECT id FROM alert WHERE dedupe_key LIKE 'anomaly:%'
        ORDER BY id OFFSET (SELECT count(*) FROM anomaly_event)""",
    "a pair that the closure of executions lacks": f"""{_TRUE_PAIRS}
        SELECT descendant FROM (TABLE pair EXCEPT TABLE written) AS missing""",
    "a pair that the closure of executions should not have": f"""{_TRUE_PAIRS}
        SELECT child_execution_id FROM (TABLE written EXCEPT TABLE pair) AS surplus""",
    "a source whose lineage closure lacks a pair": f"""{_TRUE_DEPTHS}
        SELECT source FROM (TABLE shortest EXCEPT TABLE written) AS missing""",
    "a source whose lineage closure has a pair too many": f"""{_TRUE_DEPTHS}
        SELECT source_address_id FROM (TABLE written EXCEPT TABLE shortest) AS surplus""",
    "a task done by another that did not succeed": """
        SELECT task.id FROM task JOIN task AS doer ON doer.id = task.coalesced_into WHERE doer.state <> 'SUCCESS'""",
    "an alert that was not delivered": "SELECT id FROM alert WHERE delivered_to IS DISTINCT FROM 'slack'",
    "a task that waits to be published": "SELECT task_id FROM outbox",
    "a task that did not end": "SELECT id FROM task WHERE state IN ('PENDING', 'PROGRESS', 'RETRY')",
    "a task that failed for good": "SELECT id FROM task WHERE state IN ('FAILURE', 'REVOKED')",
}

_REST = """
SELECT NOT EXISTS (SELECT FROM outbox)
    AND NOT EXISTS (SELECT FROM task WHERE state IN ('PENDING', 'PROGRESS', 'RETRY'))
"""


def is_at_rest(connection: Connection) -> bool:
    """Whether no task waits or runs."""
    return bool(connection.scalar(text(_REST)))


def wait_until_at_rest(cluster: Cluster, seconds: float) -> None:
    """Wait until no task waits or runs."""
    with cluster.connect() as connection:
        wait_until(lambda: is_at_rest(connection), "the end of all tasks", seconds)


def find_violations(cluster: Cluster, accepted: Sequence[int] = ()) -> list[str]:
    """What does not hold of a cluster at rest, a sentence each; ``accepted`` are the runs whose end the api took."""
    with cluster.connect() as connection:
        found = {what: list(connection.scalars(text(statement))) for what, statement in _VIOLATIONS.items()}
        found["accepted and not kept"] = _find_forgotten(connection, accepted)
        found["an alert that Slack never received"] = list((_raised(connection) - cluster.slack.messages()).elements())
    return [f"{len(ids)} times {what}: {ids[:10]}" for what, ids in found.items() if ids]


def find_repeated_alerts(cluster: Cluster) -> list[str]:
    """Messages that Slack received more often than they were raised."""
    with cluster.connect() as connection:
        return list((cluster.slack.messages() - _raised(connection)).elements())


def _find_forgotten(connection: Connection, accepted: Sequence[int]) -> list[int]:
    ended = "SELECT id FROM pipeline_execution WHERE completed_successfully"
    return sorted(set(accepted) - set(connection.scalars(text(ended))))


def _raised(connection: Connection) -> Counter[str]:
    return Counter(" ".join(message.splitlines()) for message in connection.scalars(text("SELECT message FROM alert")))


def check_everything_done_once(cluster: Cluster, accepted: Sequence[int]) -> None:
    """Wait for rest, then fail with whatever does not hold; ``accepted`` are the runs whose end the api took."""
    wait_until_at_rest(cluster, LIMIT_SECONDS)
    assert accepted, "nothing was accepted, so nothing is shown"
    violations = find_violations(cluster, accepted)
    assert not violations, "; ".join(violations)
    assert find_repeated_alerts(cluster) == []
