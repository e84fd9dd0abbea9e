"""Moving due messages from the outbox to the task history and to the broker, in one transaction."""

import json
import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

import psycopg
from celery import Celery
from kombu.exceptions import EncodeError

from watcher_server.tasking.sending.coalescing import COALESCED_TASK, absorb_alike
from watcher_server.tasking.wire import ALIVE, DUE_HEADER
from watcher_server.telemetry.context import CONTEXT_HEADER

logger = logging.getLogger(__name__)


class Due(NamedTuple):
    """What waits of one task.

    ``due`` are due now, counted up to one more than a batch; the next falls due in ``next_seconds``; ``in_flight`` are
    published and not started, counted up to :data:`MOST_IN_FLIGHT`.
    """

    name: str
    due: int
    next_seconds: float | None
    in_flight: int


class Message(NamedTuple):
    """A message taken from the outbox."""

    task_id: str
    name: str
    kwargs: dict[str, Any]
    queue: str
    retries: int
    due_at: float
    options: dict[str, Any] | None
    context: dict[str, Any] | None


BATCH = 200
# The largest number of one task that is in the broker and not started. More wait in the database, where they are safe,
# counted and in order.
MOST_IN_FLIGHT = 1_000

# Task names by a loose scan of the primary key, then per name a few entries of it: as fast with a million rows
# waiting as with ten. What is under way is counted by ix_task_under_way. Tasks in a queue that no worker serves do not
# count while there are workers: they would keep tasks of their name out of the queues that are served.
_FIND_DUE = f"""
WITH RECURSIVE served (queue) AS (
    SELECT DISTINCT unnest(queues) FROM worker WHERE {ALIVE}
), kind (name) AS (
    (SELECT task_name FROM outbox ORDER BY task_name LIMIT 1)
    UNION ALL
    SELECT (SELECT task_name FROM outbox WHERE task_name > kind.name ORDER BY task_name LIMIT 1)
    FROM kind WHERE kind.name IS NOT NULL
)
SELECT name,
    (SELECT count(*) FROM (
        SELECT FROM outbox WHERE task_name = name AND due_at <= now() LIMIT %(batch)s) AS due),
    (SELECT extract(epoch FROM due_at - now())::float8
        FROM outbox WHERE task_name = name AND due_at > now() ORDER BY due_at LIMIT 1),
    (SELECT count(*) FROM (
        SELECT FROM task WHERE task.name = kind.name AND state = 'PENDING' AND published_at IS NOT NULL
            AND (queue IN (SELECT queue FROM served) OR NOT EXISTS (SELECT FROM served))
        LIMIT %(most)s) AS in_flight)
FROM kind WHERE name IS NOT NULL
"""  # noqa: S608 - the condition is a constant

# The oldest of each name, by the primary key. Two relays never wait for each other: each takes what the other does not
# hold. A task that has succeeded meanwhile, or is being run again after that, is not sent once more; one that waits
# twice, because its process died between its retry and its end, is sent once.
_TAKE = """
WITH allowed AS (
    SELECT * FROM unnest(%(names)s::text[], %(numbers)s::int[]) AS allowed (name, number)
), taken AS (
    DELETE FROM outbox WHERE ctid = ANY (ARRAY(
        SELECT picked.ctid FROM allowed CROSS JOIN LATERAL (
            SELECT ctid FROM outbox WHERE task_name = allowed.name AND due_at <= now()
            ORDER BY due_at, id LIMIT allowed.number FOR UPDATE SKIP LOCKED
        ) AS picked
    ))
    RETURNING *
), message AS (
    SELECT DISTINCT ON (task_id) * FROM taken ORDER BY task_id, id DESC
), recorded AS (
    INSERT INTO task (id, name, kwargs, queue, state, retries, pipeline_id, pipeline_execution_id,
        created_at, published_at, options, context)
    SELECT task_id, task_name, kwargs, queue, 'PENDING', retries,
        watcher_task_subject(kwargs, '{pipeline_id}'),
        watcher_task_subject(kwargs, '{pipeline_execution_id,execution_id}'),
        created_at, clock_timestamp(), options, context
    FROM message
    ON CONFLICT (id) DO UPDATE SET state = 'PENDING', retries = excluded.retries, queue = excluded.queue,
        kwargs = excluded.kwargs, published_at = excluded.published_at, finished_at = NULL, worker_id = NULL,
        coalesced_into = NULL
    WHERE task.state <> 'SUCCESS'
    RETURNING id
)
SELECT task_id::text, task_name, kwargs::text, queue, retries, extract(epoch FROM due_at)::float8, options::text,
    context
FROM message JOIN recorded ON recorded.id = message.task_id
ORDER BY due_at, message.id
"""


def find_due(connection: psycopg.Connection[Any]) -> list[Due]:
    """What waits in the outbox, by task name."""
    rows = connection.execute(_FIND_DUE, {"batch": BATCH + 1, "most": MOST_IN_FLIGHT})
    return [Due(*row) for row in rows]


def publish(
    connection: psycopg.Connection[Any], publisher: Celery, producer: Any, allowed: Mapping[str, int]
) -> dict[str, int]:
    """Send the oldest messages of each task, as many as allowed, in order; how many were found.

    The broker gets all of them in one round trip, before the transaction commits: should the process die in between,
    they are sent again under the same ids. A message that cannot be sent at all fails, and stops no other.
    """
    sent = dict.fromkeys(allowed, 0)
    values = {"names": list(allowed), "numbers": list(allowed.values())}
    with connection.transaction(), producer.batch():
        for row in connection.execute(_TAKE, values).fetchall():
            raw = Message(*row)
            sent[raw.name] += 1
            try:
                message = _read(raw)
                if message.name == COALESCED_TASK and not message.options:
                    message = message._replace(kwargs=absorb_alike(connection, message.task_id, message.kwargs))
                _send(publisher, producer, message)
            except (TypeError, ValueError, RecursionError, EncodeError) as error:
                # The message cannot be serialised: its arguments are nested too deeply, say, or its expiry is no date.
                # Every try would raise the same, and all others would wait behind it. None of these errors comes from
                # the network.
                _fail(connection, raw, error)
    return sent


def _read(raw: Message) -> Message:
    """The message with its JSON parsed. Each row is parsed by itself, so that one that fails is known."""
    kwargs, options = (value and json.loads(value) for value in (raw.kwargs, raw.options))  # type: ignore[arg-type]
    if not isinstance(kwargs, dict):
        raise TypeError("the arguments of a task are an object")
    return raw._replace(kwargs=kwargs, options=options)


def _fail(connection: psycopg.Connection[Any], message: Message, error: Exception) -> None:
    logger.error("Task %s (%s) cannot be sent: %s", message.name, message.task_id, error)
    statement = """
        UPDATE task SET state = 'FAILURE', meta = jsonb_build_object('exc_type', %(type)s::text, 'exc_message',
                %(message)s::text, 'retry_count', retries, 'max_retries', 0),
            finished_at = clock_timestamp(), history = history || jsonb_build_object('at', clock_timestamp(),
                'exc_type', %(type)s::text, 'exc_message', %(message)s::text, 'retries', retries)
        WHERE id = %(id)s::uuid
    """
    connection.execute(statement, {"id": message.task_id, "type": type(error).__name__, "message": str(error)})


def _send(publisher: Celery, producer: Any, message: Message) -> None:
    publisher.send_task(
        message.name,
        kwargs=message.kwargs,
        task_id=message.task_id,
        queue=message.queue,
        retries=message.retries,
        headers={DUE_HEADER: message.due_at, CONTEXT_HEADER: message.context},
        producer=producer,
        retry=False,
        # A list in the broker needs no declaration.
        declare=(),
        # Celery's own way of writing these down takes a fifth of the time of sending.
        argsrepr="()",
        kwargsrepr=repr(message.kwargs),
        **(message.options or {}),
    )
