"""The task that applies what waits."""

import logging
import time
from collections.abc import Sequence

from watcher_server.openlineage.applying import inbox
from watcher_server.openlineage.applying.turn import TurnDone, apply_rows
from watcher_server.openlineage.settings import OpenLineageSettings, openlineage_settings
from watcher_server.openlineage.telling import tell_failed_event
from watcher_server.settings import get_settings
from watcher_server.tasking.sending.outbox import enqueue
from watcher_server.tasking.sending.task import TRANSIENT_ERRORS, report_progress, task_transaction, watcher_task
from watcher_server.tasking.wire import SCHEDULED_QUEUE

logger = logging.getLogger(__name__)

APPLY_TASK = "openlineage_apply_task"
# After a turn of this length, the checks that wait in the same queue run first.
_LONGEST_SECONDS = 10.0
# A turn commits soon, so that others wait for its locks hardly longer than for a request.
_AIM_SECONDS = 0.25
_FIRST_EVENTS, _FEWEST_EVENTS, _MOST_EVENTS = 200, 25, 2_000


@watcher_task(APPLY_TASK, status="Applying events of OpenLineage...")
def openlineage_apply_task() -> dict[str, int]:
    """Apply what waits, for a while, and queue another task of this kind for the rest."""
    settings = openlineage_settings(get_settings())
    ends_at = time.monotonic() + _LONGEST_SECONDS
    done = {"events": 0, "repeated": 0, "failed": 0, "edges": 0}
    most = _FIRST_EVENTS
    while True:
        began = time.monotonic()
        # Also after a turn that took all there was: what came meanwhile called for a task that found the lock taken.
        if not _apply_some(settings, most, done):
            return done
        if time.monotonic() > ends_at:
            with task_transaction() as connection:
                enqueue(connection, APPLY_TASK, SCHEDULED_QUEUE)
            return done
        report_progress(f"{done['events']:,} events applied", 0)
        growth = min(2.0, max(0.5, _AIM_SECONDS / (time.monotonic() - began)))
        most = min(_MOST_EVENTS, max(_FEWEST_EVENTS, int(most * growth)))


def _apply_some(settings: OpenLineageSettings, most: int, done: dict[str, int]) -> int:
    """One turn; how many events it took, none where another process is applying."""
    ids: list[int] = []
    try:
        # An event that was answered is in the database, so what follows from it can be worked out again.
        with task_transaction(durable=False) as connection:
            if not inbox.may_apply(connection):
                return 0
            rows = inbox.take(connection, most)
            ids = [row.id for row in rows]
            if rows:
                _count(done, apply_rows(connection, rows, settings))
    except TRANSIENT_ERRORS:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the other events go on
        _apply_in_halves(settings, ids, error, done)
    return len(ids)


def _apply_in_halves(settings: OpenLineageSettings, ids: Sequence[int], error: Exception, done: dict[str, int]) -> None:
    """Apply what failed together in two halves, until the event that cannot be applied stands alone."""
    if len(ids) <= 1:
        for event_id in ids:
            logger.warning("Event %s of OpenLineage cannot be applied.", event_id, exc_info=error)
            with task_transaction() as connection:
                if inbox.put_aside(connection, event_id, f"{type(error).__name__}: {error}"[:4_000]):
                    tell_failed_event(connection, event_id, error)
            done["failed"] += 1
        return
    middle = len(ids) // 2
    for half in (ids[:middle], ids[middle:]):
        try:
            with task_transaction(durable=False) as connection:
                if not inbox.may_apply(connection):
                    return
                rows = inbox.take_these(connection, half)
                if rows:
                    _count(done, apply_rows(connection, rows, settings))
        except TRANSIENT_ERRORS:
            raise
        except Exception as half_error:  # noqa: BLE001 - as above
            _apply_in_halves(settings, half, half_error, done)


def _count(done: dict[str, int], turn: TurnDone) -> None:
    done["events"] += turn.events
    done["repeated"] += turn.repeated
    done["edges"] += turn.edges
