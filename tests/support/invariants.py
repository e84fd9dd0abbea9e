"""What must be true of a cluster when no task waits or runs any more, whatever was killed before."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, text

from tests.support.cluster import LIMIT_SECONDS, Cluster
from tests.support.live import wait_until
from tests.support.slack import SlackSink
from watcher_server.alerts.config.schemas import DEFAULT
from watcher_server.alerts.lanes import LEASE_SECONDS
from watcher_server.alerts.service import alert_text

# Reported runs with the expected findings: every rule of the pipeline flags an outlier, and no rule flags another run.
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

# All walks through the lineage that are no longer than the number of addresses. The shortest ones are the closure.
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

_NEWEST = """
WITH newest AS (
    SELECT DISTINCT ON (pipeline_id) pipeline_id, completed_successfully, end_date
    FROM pipeline_execution WHERE end_date IS NOT NULL
    ORDER BY pipeline_id, start_date DESC, id DESC
)
"""

_NEWEST_REPORTED = """
newest AS (
    SELECT DISTINCT ON (pipeline_id) pipeline_id, id, expected_rules > 0 AS is_out
    FROM reported ORDER BY pipeline_id, start_date DESC, id DESC
)
"""

# It gathers at one channel what other alerts say.
_GATHERS = "dedupe_key ~ '^(storm|gathered):'"

# Each notification, and the one that said it in the end: itself, unless another was sent in its place.
_TOLD = """
WITH RECURSIVE said (id, alert_id, channel, last) AS (
    SELECT id, alert_id, channel, id FROM notification
    UNION ALL
    SELECT said.id, said.alert_id, said.channel, sent_in
    FROM said JOIN notification ON notification.id = last WHERE state = 'merged' AND sent_in IS NOT NULL
), told AS (
    SELECT said.id, said.alert_id, said.channel, final.state, final.sent_to, final.alert_id AS told_in
    FROM said JOIN notification AS final ON final.id = last WHERE final.state <> 'merged' OR final.sent_in IS NULL
)
"""

# Descriptions of violations, each with the statement that finds the ids.
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
    # After an outage runs are judged out of their order. An event that is judged while an incident of its pipeline is
    # open belongs to that incident, whose message has been sent.
    "an event of anomalies that was not alerted": """
        SELECT event.id FROM anomaly_event AS event WHERE NOT alerted OR NOT EXISTS (
            SELECT FROM anomaly_detection_result AS result
            JOIN alert ON alert.dedupe_key = 'anomaly:' || result.pipeline_execution_id
            WHERE result.event_id = event.id
        ) AND NOT EXISTS (
            SELECT FROM incident JOIN alert_subject AS subject ON subject.incident_id = incident.id
            JOIN task ON task.pipeline_execution_id = event.first_execution_id AND task.name = 'detect_anomalies_task'
            WHERE incident.kind = 'anomalous' AND incident.pipeline_id = event.pipeline_id
                AND incident.opened_at <= task.finished_at
                AND coalesce(incident.resolved_at, 'infinity') >= task.started_at)""",
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
    "an alert that was not delivered": f"""{_TOLD}
        SELECT alert.id FROM alert LEFT JOIN told ON told.alert_id = alert.id
        WHERE (told.channel = ANY(:dead)) IS NOT TRUE AND told.state IS DISTINCT FROM 'skipped'
            AND told.sent_to IS DISTINCT FROM 'slack'""",
    "an alert for a dead channel that its fallback did not tell": f"""{_TOLD}
        SELECT alert_id FROM told WHERE channel = ANY(:dead) AND state <> 'skipped' AND NOT EXISTS (
            SELECT FROM told AS instead WHERE instead.alert_id IN (told.alert_id, told.told_in)
                AND instead.channel = '{DEFAULT}' AND (instead.sent_to = 'slack' OR instead.state = 'skipped'))""",
    "an alert that a channel of its route was left out of": f"""
        SELECT alert.id FROM alert CROSS JOIN unnest(CAST(:routed AS text[])) AS channel
        WHERE NOT {_GATHERS} AND NOT EXISTS (
            SELECT FROM notification WHERE alert_id = alert.id AND notification.channel = channel.channel)
            -- Where the opening was over before its time came, nobody is told of its end.
            AND (change IS DISTINCT FROM 'resolved' OR (
                SELECT earlier.change FROM alert_subject AS about JOIN alert_subject AS other USING (incident_id)
                JOIN alert AS earlier ON earlier.id = other.alert_id AND earlier.id < alert.id
                JOIN notification AS told ON told.alert_id = earlier.id AND told.channel = channel.channel
                WHERE about.alert_id = alert.id AND told.state IN ('sent', 'merged')
                ORDER BY earlier.id DESC LIMIT 1) <> 'resolved')""",
    "a pipeline whose newest run failed, and no incident says so": f"""{_NEWEST}
        SELECT pipeline_id FROM newest WHERE NOT completed_successfully AND NOT EXISTS (
            SELECT FROM incident WHERE incident.pipeline_id = newest.pipeline_id AND kind = 'failing'
                AND (state <> 'resolved' OR quiet))""",
    "an incident that is open longer than its pipeline fails": f"""{_NEWEST}
        SELECT incident.id FROM incident JOIN newest USING (pipeline_id)
        WHERE kind = 'failing' AND state <> 'resolved' AND completed_successfully
            AND newest.end_date < now() - interval '3 minutes'""",
    "a pipeline whose newest run is out of range, and no incident says so": f"""{_REPORTED}, {_NEWEST_REPORTED}
        SELECT pipeline_id FROM newest WHERE is_out AND NOT EXISTS (
            SELECT FROM incident WHERE incident.pipeline_id = newest.pipeline_id AND kind = 'anomalous'
                AND (state <> 'resolved' OR quiet))""",
    # Of two runs that are analysed at the same moment, the later does not see what the earlier finds.
    "an incident that is open longer than its pipeline is out of range": f"""{_REPORTED}, {_NEWEST_REPORTED}
        SELECT incident.id FROM incident JOIN newest USING (pipeline_id)
        JOIN task AS usual ON usual.pipeline_execution_id = newest.id AND usual.name = 'detect_anomalies_task'
        JOIN task AS found ON found.pipeline_execution_id = execution_id AND found.name = 'detect_anomalies_task'
        WHERE kind = 'anomalous' AND incident.state <> 'resolved' AND NOT is_out
            AND usual.started_at > found.finished_at""",
    "a channel that is dead, and no incident says so": """
        SELECT name FROM unnest(CAST(:dead AS text[])) AS name WHERE NOT EXISTS (
            SELECT FROM incident WHERE kind = 'channel' AND subject = name AND state <> 'resolved')""",
    "an incident of a channel that is well": """
        SELECT id FROM incident WHERE kind = 'channel' AND state <> 'resolved' AND subject <> ALL(:dead)""",
    "a change of an incident that was told twice or not at all": f"""
        SELECT incident.id FROM incident
        WHERE (SELECT count(*) FROM incident_event AS event WHERE event.incident_id = incident.id AND change = 'told')
            <> (SELECT count(*) FROM alert_subject AS subject JOIN alert ON alert.id = subject.alert_id
                WHERE subject.incident_id = incident.id AND alert.change IS NOT NULL AND root_id IS NULL
                    -- One that gathers others tells nothing that they do not.
                    AND NOT (EXISTS (SELECT FROM notification AS gathered JOIN notification AS said
                        ON said.id = gathered.sent_in WHERE said.alert_id = alert.id AND gathered.alert_id < alert.id)
                            AND {_GATHERS}))
            AND root_id IS NULL""",
    "a change of an incident that was told before an earlier one": """
        SELECT one.incident_id
        FROM alert_subject AS one JOIN alert_subject AS other USING (incident_id)
        JOIN notification AS first ON first.alert_id = one.alert_id AND first.state = 'sent'
        JOIN notification AS second ON second.alert_id = other.alert_id AND second.state = 'sent'
            AND second.channel = first.channel
        WHERE one.alert_id < other.alert_id AND first.sent_at > second.sent_at""",
    "a task that waits to be published": "SELECT task_id FROM outbox",
    "a task that did not end": "SELECT id FROM task WHERE state IN ('PENDING', 'PROGRESS', 'RETRY')",
    "a task that failed for good": "SELECT id FROM task WHERE state IN ('FAILURE', 'REVOKED')",
}

# What a dead channel does not take waits there for good, once it is told elsewhere.
_REST = f"""
SELECT NOT EXISTS (SELECT FROM outbox) AND NOT EXISTS (SELECT FROM task WHERE state IN ('PENDING', 'PROGRESS', 'RETRY'))
    AND NOT EXISTS (
        SELECT FROM notification WHERE state IN ('waiting', 'sending') AND (channel <> ALL(:dead) OR NOT EXISTS (
            SELECT FROM notification AS instead
            WHERE instead.alert_id = notification.alert_id AND instead.channel = '{DEFAULT}')))
"""

# The checks of Watcher itself have seen that all is well, and everybody was told so. What flaps is told once an hour.
_SETTLED = """
SELECT NOT EXISTS (
    SELECT FROM incident WHERE tell_resolved_at IS NOT NULL AND NOT flapping
        OR state <> 'resolved' AND kind IN ('queue', 'watcher'))
"""


def wait_until_at_rest(cluster: Cluster, seconds: float, *, settled: bool = False) -> None:
    """Wait until no task waits or runs, and no alert waits; with ``settled`` until none is to come either."""
    statements = [_REST, _SETTLED] if settled else [_REST]
    parameters = {"dead": list(cluster.dead)}
    with cluster.connect() as connection:
        wait_until(
            lambda: all(connection.scalar(text(each), parameters) for each in statements),
            "the end of all tasks",
            seconds,
        )


def find_violations(cluster: Cluster, accepted: Sequence[int] = ()) -> list[str]:
    """The violations of a cluster at rest, in words; ``accepted`` are the runs whose end the api accepted."""
    found: dict[str, list[Any]] = {}
    parameters = {"dead": list(cluster.dead), "routed": list(cluster.sinks.keys() - {DEFAULT})}
    with cluster.connect() as connection:
        for what, statement in _VIOLATIONS.items():
            found[what] = list(connection.scalars(text(statement), parameters))
        found["accepted and not kept"] = _find_forgotten(connection, accepted)
        for name, sink in _alive(cluster):
            raised = _raised(connection, name)
            found[f"an alert that {name} never received"] = list((raised - sink.messages()).elements())
            found[f"an incident whose changes {name} received in another order"] = _find_disorder(
                connection, name, sink
            )
    return [f"{len(ids)} times {what}: {ids[:10]}" for what, ids in found.items() if ids]


def find_repeated_alerts(cluster: Cluster) -> list[str]:
    """Messages that a channel received more often than alerts with them were raised, or tried with the answer lost."""
    tries = "CASE WHEN perhaps_sent THEN attempts WHEN state IN ('merged', 'skipped') THEN 0 ELSE 1 END"
    with cluster.connect() as connection:
        return [
            message
            for name, sink in _alive(cluster)
            for message in (sink.messages() - _raised(connection, name, tries)).elements()
        ]


def _alive(cluster: Cluster) -> list[tuple[str, SlackSink]]:
    return [(name, sink) for name, sink in cluster.sinks.items() if name not in cluster.dead]


def _find_forgotten(connection: Connection, accepted: Sequence[int]) -> list[int]:
    ended = "SELECT id FROM pipeline_execution WHERE end_date IS NOT NULL"
    return sorted(set(accepted) - set(connection.scalars(text(ended))))


_ONCE = "CASE WHEN state IN ('merged', 'skipped') THEN 0 ELSE 1 END"


def _raised(connection: Connection, channel: str, times: str = _ONCE) -> Counter[str]:
    """The messages that were raised for a channel, each as many times as the expression says."""
    statement = f"""
        SELECT message, {times} AS times FROM alert JOIN notification ON alert_id = alert.id WHERE channel = :channel
    """
    raised = Counter[str]()
    for message, number in connection.execute(text(statement), {"channel": channel}):
        raised[" ".join(message.splitlines())] += number
    return raised


_IN_ORDER = """
SELECT incident_id, level, title, message, alert.created_at
FROM alert_subject JOIN alert ON alert.id = alert_subject.alert_id JOIN notification USING (alert_id)
WHERE incident_id IS NOT NULL AND channel = :channel AND state = 'sent'
ORDER BY alert_id
"""


def _find_disorder(connection: Connection, channel: str, sink: SlackSink) -> list[int]:
    """The incidents whose changes arrived in another order than they happened; what never arrived is another matter."""
    arrived: dict[str, int] = {}
    for place, head in enumerate(sink.heads()):
        arrived.setdefault(head, place)
    places: dict[int, list[int]] = defaultdict(list)
    for incident_id, *about in connection.execute(text(_IN_ORDER), {"channel": channel}):
        level, title, message, created_at = about
        head = alert_text(level=level, title=title, message=message, details=(), created_at=created_at)
        if head in arrived:
            places[incident_id].append(arrived[head])
    return [incident_id for incident_id, found in places.items() if found != sorted(found)]


def check_everything_done_once(cluster: Cluster, accepted: Sequence[int]) -> None:
    """Wait until no task is left, then fail if there are violations; ``accepted`` are the runs that the api took."""
    # What a worker was sending when it was killed is sent again when its lease has lapsed.
    wait_until_at_rest(cluster, LIMIT_SECONDS + LEASE_SECONDS)
    assert accepted, "nothing was accepted, so nothing is shown"
    violations = find_violations(cluster, accepted)
    assert not violations, "; ".join(violations)
    assert find_repeated_alerts(cluster) == []
