"""Tasks that were published and will not run: found, and put back into the outbox under their own ids."""

import json
import logging
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

import redis
from sqlalchemy import Connection, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Uuid

from watcher_server.settings import Settings
from watcher_server.tasking.sending.broker import key_prefix, redis_client
from watcher_server.tasking.sending.configuration import visibility_timeout_seconds
from watcher_server.tasking.wire import PRIORITY_SUFFIXES, WAKE_CHANNEL

logger = logging.getLogger(__name__)

_AT_ONCE = 1_000

# By ix_task_under_way, as the next two statements. Few tasks are under way.
_FIND_QUEUES = text("""
SELECT DISTINCT queue FROM task
WHERE state = 'PENDING' AND published_at < now() - make_interval(secs => :lost_after)
""")

# ``waiting`` has the oldest message of each priority. When one of them is no task of the history, the time at which it
# was sent is unknown, and no task is taken to be missing.
_FIND_MISSING = text("""
SELECT id FROM task
WHERE state = 'PENDING' AND queue = :queue AND published_at < (
    SELECT CASE WHEN count(*) = cardinality(:waiting) THEN coalesce(min(published_at), now()) END
    FROM task AS longest WHERE id = ANY (:waiting)
) - make_interval(secs => :lost_after)
ORDER BY published_at LIMIT :at_once
""").bindparams(bindparam("waiting", type_=ARRAY(Uuid())))

_FIND_ORPHANED = """
SELECT task.id FROM task LEFT JOIN worker ON worker.id = task.worker_id
WHERE task.state = 'PROGRESS' AND (
    -- A worker that the database does not know was seen when it began this task.
    task.worker_id IS NOT NULL
        AND coalesce(worker.stopped_at, worker.seen_at, task.started_at) < now() - make_interval(secs => :lost_after)
    -- A worker that reports no running task long after it began this one has ended it and could not record that.
    OR worker.active = 0 AND worker.seen_at > task.started_at + make_interval(secs => :lost_after)
    OR task.started_at < now() - make_interval(secs => :longest)
)
-- A next try that went straight to the broker, because the database was away, and never began.
OR task.state = 'RETRY' AND task.started_at < now() - make_interval(secs => :longest)
    AND NOT EXISTS (SELECT FROM outbox WHERE outbox.task_id = task.id)
ORDER BY task.id LIMIT :at_once
"""

# A task that ended in the meantime is left alone. One that was running gets an entry in its history.
_RETURN = text("""
WITH returned AS (
    UPDATE task SET state = 'PENDING', published_at = NULL, worker_id = NULL,
        deaths = deaths + CAST(state = 'PROGRESS' AS int),
        history = CASE WHEN state = 'PROGRESS' THEN history || jsonb_build_object(
            'at', clock_timestamp(), 'exc_type', 'WorkerLostError', 'retries', retries,
            'exc_message', 'Its worker died, or could not record its end.') ELSE history END
    WHERE id = ANY (:ids) AND state IN ('PENDING', 'PROGRESS', 'RETRY') AND published_at IS NOT NULL
    RETURNING id, name, kwargs, queue, created_at, retries, options, context
), queued AS (
    INSERT INTO outbox (task_id, task_name, kwargs, queue, created_at, retries, options, context)
    SELECT id, name, kwargs, queue, created_at, retries, options, context FROM returned ORDER BY created_at, id
), woken AS (
    SELECT pg_notify(:channel, '') FROM returned LIMIT 1
)
SELECT count(*) FROM returned, (SELECT count(*) FROM woken) AS told
""").bindparams(bindparam("ids", type_=ARRAY(Uuid())))


class Recovery:
    """Finds lost tasks. A task counts as missing from the broker when two looks in a row miss it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._suspects: set[UUID] = set()

    def return_lost(self, connection: Connection) -> int:
        """Put back what was published and is in no queue, and what ran on a worker that is gone; how many.

        A task that still runs after all runs twice. That does no harm: it writes the same rows again.
        """
        missing = set(self._find_missing(connection))
        lost = [*(missing & self._suspects), *self._find_orphaned(connection)]
        self._suspects = missing
        returned = connection.scalar(_RETURN, {"ids": lost, "channel": WAKE_CHANNEL}) if lost else 0
        if returned:
            logger.warning("%d tasks were lost with their worker or by the broker, and will run again.", returned)
        return returned or 0

    def _find_missing(self, connection: Connection) -> Iterable[UUID]:
        """Tasks that were published longer ago than anything that waits in their queue, and did not start."""
        values = {"lost_after": self._settings.lost_task_after_seconds, "at_once": _AT_ONCE}
        queues = connection.scalars(_FIND_QUEUES, values).all()
        if not queues:
            return  # A client of the broker costs more than all that an idle keeper does besides.
        prefix = key_prefix(self._settings.broker)
        try:
            with redis_client(self._settings.broker) as client:
                waiting = {queue: _waiting_longest(client, prefix + queue) for queue in queues}
        except (redis.RedisError, OSError):
            return  # While the broker is away, its contents are unknown.
        for queue, tasks in waiting.items():
            yield from connection.scalars(_FIND_MISSING, {**values, "queue": queue, "waiting": tasks}).all()

    def _find_orphaned(self, connection: Connection) -> Iterable[UUID]:
        longest = self._settings.task_time_limit_seconds + visibility_timeout_seconds(self._settings)
        values = {"lost_after": self._settings.lost_task_after_seconds, "longest": longest, "at_once": _AT_ONCE}
        return connection.scalars(text(_FIND_ORPHANED), values).all()


def _waiting_longest(client: "redis.Redis", key: str) -> list[UUID]:
    """The tasks that have waited longest in the queue of that key, one for each of its priorities that has any."""
    tails: list[Any] = [client.lindex(key + suffix, -1) for suffix in PRIORITY_SUFFIXES]
    return [_task_id(message) for message in tails if message is not None]


def _task_id(message: bytes) -> UUID:
    """The id of a message's task; the nil id for one that has none."""
    try:
        headers: Mapping[str, Any] = json.loads(message)["headers"]
        return UUID(str(headers["id"]))
    except (ValueError, TypeError, LookupError, RecursionError):
        return UUID(int=0)
