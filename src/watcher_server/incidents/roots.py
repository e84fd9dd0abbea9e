"""The root cause of incidents: upstream by lineage and down the execution tree, until nothing explains any more.

An incident R explains an incident D when data flows from what R's pipeline writes to what D's reads, or R's run was
started by D's, and R opened before D or up to ``GROUP_WAIT_SECONDS`` after it. Late, stale, missed and failing ones
explain what came late; what is out of range explains what is out of range. A failing one, and one whose runs do not
end, is explained by the execution tree alone: what lies upstream of it is only perhaps its cause.

Of several runs of one root run that fail, the first that did speaks for the others, and for those that were lost:
people hear of a root run once. That holds for what began to fail in this root run, and not in one before.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, text

from watcher_server.incidents.kinds import RANKS

# What opens within this time of another may have the same cause.
GROUP_WAIT_SECONDS = 30


class Node(NamedTuple):
    """An open incident, as the search for roots needs it; ``root_id`` is the root that it has, if that is open."""

    id: int
    opened_at: datetime
    level: str
    root_id: int | None

    @property
    def order(self) -> tuple[datetime, int, int]:
        """Of several that explain each other the root is the earliest, then the worst, then that with the least id."""
        return self.opened_at, -RANKS[self.level], self.id


# What may explain what, by kinds and times; for any statement in which the two are ``cause`` and ``effect``.
_MAY_EXPLAIN = """
cause.pipeline_id <> effect.pipeline_id
AND cause.opened_at <= effect.opened_at + make_interval(secs => :group_wait)
AND CASE effect.kind WHEN 'anomalous' THEN cause.kind = 'anomalous' OR effect.is_low ELSE cause.kind <> 'anomalous' END
"""

# The few open incidents come first: what their pipelines write and read by the unique index of the edges, what lies
# between by the primary key of the closure, where no path is read. Of those that write one table each explains only the
# next: the first of them is the root of all.
_CAUSES = f"""
WITH live AS MATERIALIZED (
    SELECT incident.id, kind, incident.pipeline_id, execution_id, opened_at, root_id, run.parent_id,
        kind = 'anomalous' AND NOT EXISTS (
            SELECT FROM anomaly_detection_result AS result
            WHERE result.pipeline_execution_id = incident.execution_id AND result.z_score >= 0
        ) AS is_low
    FROM incident LEFT JOIN pipeline_execution AS run ON run.id = execution_id
    WHERE state <> 'resolved' AND incident.pipeline_id IS NOT NULL
), wanted AS MATERIALIZED (
    SELECT * FROM live WHERE id = ANY(CAST(:ids AS bigint[]))
), written AS MATERIALIZED (
    SELECT DISTINCT live.*, lineage.target_address_id AS address_id
    FROM live JOIN address_lineage AS lineage USING (pipeline_id)
), read AS MATERIALIZED (
    SELECT DISTINCT wanted.*, lineage.source_address_id AS address_id
    FROM wanted JOIN address_lineage AS lineage USING (pipeline_id)
), reached AS MATERIALIZED (
    SELECT closure.source_address_id AS written_id, closure.target_address_id AS read_id
    FROM (SELECT DISTINCT address_id FROM written) AS source
    JOIN address_lineage_closure AS closure ON closure.source_address_id = source.address_id
    JOIN (SELECT DISTINCT address_id FROM read) AS target ON target.address_id = closure.target_address_id
    UNION
    SELECT address_id, address_id FROM read
), called AS MATERIALIZED (
    SELECT live.*, top.id AS top_id, top.start_date AS top_start
    FROM live
    CROSS JOIN LATERAL (
        SELECT parent_execution_id FROM pipeline_execution_closure
        WHERE child_execution_id = live.execution_id AND depth > 0 ORDER BY depth DESC LIMIT 1
    ) AS tree
    JOIN pipeline_execution AS top ON top.id = tree.parent_execution_id
    WHERE live.kind IN ('failing', 'lost')
), first_failed AS (
    SELECT DISTINCT ON (top_id) * FROM called WHERE kind = 'failing' AND opened_at >= top_start
    ORDER BY top_id, opened_at, id
), sharing_top AS (
    SELECT cause.id AS cause_id, effect.id AS effect_id
    FROM called AS effect JOIN first_failed AS cause USING (top_id)
    UNION
    SELECT cause.id, effect.id
    FROM called AS effect JOIN called AS cause USING (top_id)
    WHERE cause.id = effect.root_id AND cause.kind = 'failing'
), related AS (
    SELECT cause.id AS cause_id, effect.id AS effect_id, effect.kind IN ('failing', 'lost', 'overlapping') AS perhaps
    FROM reached
    JOIN written AS cause ON cause.address_id = reached.written_id
    JOIN read AS effect ON effect.address_id = reached.read_id
    WHERE {_MAY_EXPLAIN}
    UNION ALL
    SELECT cause.id, effect.id, false
    FROM wanted AS effect
    JOIN pipeline_execution_closure AS tree ON tree.parent_execution_id = effect.execution_id AND tree.depth > 0
    JOIN live AS cause ON cause.execution_id = tree.child_execution_id
    WHERE {_MAY_EXPLAIN}
    UNION ALL
    SELECT cause.id, effect.id, false FROM wanted AS effect JOIN live AS cause ON cause.parent_id = effect.execution_id
    WHERE {_MAY_EXPLAIN}
    UNION ALL
    SELECT cause.id, effect.id, false
    FROM sharing_top JOIN live AS cause ON cause.id = cause_id JOIN wanted AS effect ON effect.id = effect_id
    WHERE {_MAY_EXPLAIN}
        AND NOT EXISTS (
            SELECT FROM pipeline_execution_closure AS above
            WHERE above.parent_execution_id = cause.execution_id AND above.child_execution_id = effect.execution_id
        )
    UNION ALL
    SELECT before_id, id, false
    FROM (
        SELECT id, opened_at, lag(id) OVER turn AS before_id, lag(opened_at) OVER turn AS before_opened_at
        FROM written WHERE kind = 'anomalous' WINDOW turn AS (PARTITION BY address_id ORDER BY opened_at, id)
    ) AS sharing
    WHERE opened_at <= before_opened_at + make_interval(secs => :group_wait) AND id IN (SELECT id FROM wanted)
)
SELECT effect_id, perhaps, array_agg(cause_id) AS cause_ids FROM related GROUP BY effect_id, perhaps
"""  # noqa: S608 - the condition is a constant


def _read_causes(connection: Connection, incident_ids: Collection[int]) -> dict[bool, dict[int, set[int]]]:
    """What explains these incidents, and under True what only perhaps does."""
    parameters = {"ids": list(incident_ids), "group_wait": GROUP_WAIT_SECONDS}
    found: dict[bool, dict[int, set[int]]] = {False: {}, True: {}}
    for effect_id, perhaps, cause_ids in connection.execute(text(_CAUSES), parameters):
        found[perhaps][effect_id] = set(cause_ids)
    return found


def read_perhaps(connection: Connection, incident_id: int) -> list[int]:
    """What the incident is only perhaps because of: open incidents upstream, the oldest first, which silence nobody."""
    found = _read_causes(connection, [incident_id])
    return sorted(found[True].get(incident_id, set()) - found[False].get(incident_id, set()))


def read_roots(connection: Connection, incident_ids: Collection[int]) -> dict[int, int]:
    """The root of each of these incidents that are open; one that nothing explains is left out."""
    causes = _read_causes(connection, incident_ids)[False]
    ids = {*causes, *(cause for each in causes.values() for cause in each)}
    statement = """
        SELECT incident.id, incident.opened_at, incident.level, root.id AS root_id
        FROM incident LEFT JOIN incident AS root ON root.id = incident.root_id AND root.state <> 'resolved'
        WHERE incident.id = ANY(CAST(:ids AS bigint[]))
            OR incident.id IN (SELECT root_id FROM incident WHERE id = ANY(CAST(:ids AS bigint[])))
    """
    nodes = {row.id: Node(*row) for row in connection.execute(text(statement), {"ids": list(ids)})}
    # What explains the other incidents was found when they opened: their roots stand for them.
    wanted = {*incident_ids}
    stands_for = {id_: id_ if id_ in wanted else node.root_id or id_ for id_, node in nodes.items()}
    return find_roots(nodes, {effect: {stands_for[cause] for cause in each} for effect, each in causes.items()})


def find_roots(nodes: Mapping[int, Node], causes: Mapping[int, Collection[int]]) -> dict[int, int]:
    """The root of every incident that is explained: of all the incidents that lead to it, the first by ``Node.order``.

    ``causes`` has what explains each directly. Incidents that explain each other in a circle are one: its root is the
    first of them, unless something outside explains it.
    """
    order = {id_: node.order for id_, node in nodes.items()}
    roots: dict[int, int] = {}
    for group in _groups(nodes, causes):
        # The groups that explain this one come before it, so their roots are known.
        outside = {roots.get(cause, cause) for id_ in group for cause in causes.get(id_, ()) if cause not in group}
        root = min(outside or group, key=order.__getitem__)
        roots.update({id_: root for id_ in group if id_ != root})
    return roots


def _groups(nodes: Mapping[int, Node], causes: Mapping[int, Collection[int]]) -> list[set[int]]:
    """The strongly connected components, causes before effects.

    Tarjan, *Depth-first search and linear graph algorithms*, SIAM Journal on Computing 1 (1972), without recursion.
    """
    number: dict[int, int] = {}
    lowest: dict[int, int] = {}
    path: list[int] = []
    groups: list[set[int]] = []
    done: set[int] = set()
    for start in nodes:
        if start in number:
            continue
        stack = [(start, iter(causes.get(start, ())))]
        number[start] = lowest[start] = len(number)
        path.append(start)
        while stack:
            id_, rest = stack[-1]
            cause = next((each for each in rest if each in nodes and each not in done), None)
            if cause is None:
                stack.pop()
                if stack:
                    lowest[stack[-1][0]] = min(lowest[stack[-1][0]], lowest[id_])
                if lowest[id_] == number[id_]:
                    group = {path.pop()}
                    while id_ not in group:
                        group.add(path.pop())
                    done |= group
                    groups.append(group)
            elif cause in number:
                lowest[id_] = min(lowest[id_], number[cause])
            else:
                number[cause] = lowest[cause] = len(number)
                path.append(cause)
                stack.append((cause, iter(causes.get(cause, ()))))
    return groups
