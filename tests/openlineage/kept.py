"""Events in the inbox, and what became of them."""

import json
import zlib
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, text

from tests.support.openlineage import Event
from tests.support.rows import now
from watcher_server import celery_tasks

NO_EVENT = b"this is not compressed"


def put_raw(engine: Engine, body: bytes = NO_EVENT, *, lane: str = "demo", received_at: datetime | None = None) -> int:
    """Put a body into the inbox, whatever it is; its id."""
    statement = text("INSERT INTO openlineage_event (lane, received_at, body) VALUES (:lane, :at, :body) RETURNING id")
    with engine.begin() as connection:
        return int(connection.scalar(statement, {"lane": lane, "at": received_at or now(), "body": body}) or 0)


def put_failed(
    engine: Engine, event: Event, error: str = "ValueError: too odd", *, failed_at: datetime | None = None
) -> int:
    """An event that failed; its id."""
    statement = text("""
        INSERT INTO openlineage_failed_event (id, received_at, failed_at, lane, error, body)
        VALUES (nextval('openlineage_event_id_seq'), :at, :at, :lane, :error, :body) RETURNING id
    """)
    body = zlib.compress(json.dumps(event).encode())
    values = {"at": failed_at or now(), "lane": event["job"]["namespace"], "error": error, "body": body}
    with engine.begin() as connection:
        return int(connection.scalar(statement, values) or 0)


def kept(engine: Engine) -> dict[int, str]:
    """What became of each event, by its id."""
    statement = """
        SELECT id, CASE WHEN applied_at IS NULL THEN 'waiting' ELSE 'applied' END FROM openlineage_event
        UNION ALL SELECT id, 'failed' FROM openlineage_failed_event ORDER BY id
    """
    with engine.connect() as connection:
        return {row[0]: row[1] for row in connection.execute(text(statement))}


def query(engine: Engine, statement: str, **values: Any) -> list[tuple[Any, ...]]:
    """The rows of a statement."""
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(statement), values)]


def write(engine: Engine, statement: str, **values: Any) -> None:
    """Run a statement that changes something."""
    with engine.begin() as connection:
        connection.execute(text(statement), values)


def queued(engine: Engine, task: str = "openlineage_apply_task") -> int:
    """How many tasks of a name are in the outbox."""
    return int(query(engine, "SELECT count(*) FROM outbox WHERE task_name = :task", task=task)[0][0])


# What follows from events, without what depends on the moment at which they were applied.
_STATE = """
SELECT pipeline.name, execution.start_date, execution.end_date, execution.completed_successfully, execution.outcome,
    execution.total_rows, execution.execution_metadata::text, parent.name
FROM pipeline_execution AS execution JOIN pipeline ON pipeline.id = execution.pipeline_id
LEFT JOIN pipeline_execution AS above ON above.id = execution.parent_id
LEFT JOIN pipeline AS parent ON parent.id = above.pipeline_id
ORDER BY 1, 2, 3, 7
"""
_EDGES = """
SELECT pipeline.name, source.name, target.name FROM address_lineage
JOIN pipeline ON pipeline.id = pipeline_id
JOIN address AS source ON source.id = source_address_id JOIN address AS target ON target.id = target_address_id
ORDER BY 1, 2, 3
"""
_CLOSURE = """
SELECT above.name, below.name, closure.depth, count(*) FROM pipeline_execution_closure AS closure
JOIN pipeline_execution AS a ON a.id = parent_execution_id JOIN pipeline AS above ON above.id = a.pipeline_id
JOIN pipeline_execution AS b ON b.id = child_execution_id JOIN pipeline AS below ON below.id = b.pipeline_id
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""


def state_of(engine: Engine) -> list[list[tuple[Any, ...]]]:
    """What follows from all events: executions, edges, and the pairs of the closure, by names."""
    return [query(engine, statement) for statement in (_STATE, _EDGES, _CLOSURE)]


def run_tasks(engine: Engine) -> list[str]:
    """Run what is in the outbox, and what that calls for; the names of the tasks in the order in which they ran."""
    ran: list[str] = []
    while True:
        with engine.begin() as connection:
            statement = "DELETE FROM outbox WHERE task_name <> 'deliver_alert_task' RETURNING task_name, kwargs"
            found = connection.execute(text(statement)).all()
        if not found:
            return ran
        for name, kwargs in found:
            getattr(celery_tasks, name)(**kwargs)
            ran.append(name)
