"""Beat: the schedules, sent through the outbox."""

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from celery.beat import Scheduler
from sqlalchemy import Connection, NullPool, text
from sqlalchemy.exc import SQLAlchemyError

from watcher_server.database.engine import database_engine, require_writable, session_settings, sync_engine
from watcher_server.database.locks import BEAT_LOCK, LOCK_HOLDER_SETTINGS, SILENT_SECONDS
from watcher_server.kit.clock import ClockJumps
from watcher_server.settings import get_settings
from watcher_server.tasking.history.service import find_last_created

logger = logging.getLogger(__name__)

# How soon a beat looks again whether it leads.
_LOOK_SECONDS = 5.0


class _Lead:
    """The lead among all beats: a session that holds an advisory lock. A beat that waits for it has a session too."""

    def __init__(self) -> None:
        self._connection: Connection | None = None
        self._held = False

    def is_held(self) -> bool:
        """Whether this beat leads, which it tries to. With a SQLAlchemyError, which it raises, the lead is lost."""
        try:
            self._connection = self._connection or _connect()
            require_writable(self._connection)
            if not self._held:
                asked = text("SELECT pg_try_advisory_lock(:key)")
                self._held = bool(self._connection.scalar(asked, {"key": BEAT_LOCK}))
        except SQLAlchemyError:
            self.give_up()
            raise
        return self._held

    def give_up(self) -> None:
        """Let another beat lead."""
        connection, self._connection, self._held = self._connection, None, False
        if connection is not None:
            connection.close()


def _connect() -> Connection:
    told = {**session_settings(timeout_seconds=10), **LOCK_HOLDER_SETTINGS}
    told["idle_session_timeout"] = f"{SILENT_SECONDS}s"
    url = get_settings().direct_database
    engine = database_engine(url, told, application_name="watcher beat", poolclass=NullPool)
    return engine.connect().execution_options(isolation_level="AUTOCOMMIT")


class OutboxScheduler(Scheduler):
    """Celery's own scheduler. What it sends is a row of the outbox, and so it remembers by the rows.

    When it starts it looks up when each task was created last. What fell due since then is sent at once and once, what
    is not due waits for its moment. It keeps no file: Celery's is a pickle, which runs what its writer likes.

    Of several beats one sends, and the others wait for its end.
    """

    # Celery would connect to the broker before it sends anything. A row needs no broker.
    producer = None  # type: ignore[assignment]
    _remembers = False
    _waits = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._lead = _Lead()
        self._jumps = ClockJumps()
        super().__init__(*arguments, **options)

    def tick(self, *arguments: Any, **options: Any) -> float:
        """Send what is due; the seconds until there may be more. Nothing is sent before the database has answered."""
        try:
            if not self._leads():
                return _LOOK_SECONDS
        except SQLAlchemyError as error:
            self._remembers = False
            logger.warning("Beat waits for the database: %s", type(error).__name__)
            return _LOOK_SECONDS
        self._follow_clock()
        seconds: float = super().tick(*arguments, **options)
        return min(seconds, _LOOK_SECONDS)

    def close(self) -> None:
        """Let another beat go on."""
        self._lead.give_up()
        super().close()

    def _leads(self) -> bool:
        """Whether this beat is the one that sends; it then knows what was sent before."""
        if not self._lead.is_held():
            if not self._waits:
                logger.warning(
                    "Another beat sends the scheduled tasks, and this one does nothing until it ends: stop one of both."
                )
            self._waits = True
            return False
        if self._waits:
            logger.warning("The other beat has ended: this one sends the scheduled tasks now.")
            self._waits = False
        if not self._remembers:
            self._remember()
        return True

    def _follow_clock(self) -> None:
        """Plan anew when the clock was put back: Celery would send nothing until it is where it was."""
        jump = self._jumps.seconds()
        if jump < 0:
            logger.warning("The clock was put back by %s: beat plans anew.", timedelta(seconds=round(-jump)))
            now = datetime.now(UTC)
            entries: list[Any] = list(self.schedule.values())
            for entry in entries:
                entry.last_run_at = min(entry.last_run_at, now)
            self._heap = None

    def _remember(self) -> None:
        entries: list[Any] = list(self.schedule.values())
        now = datetime.now(UTC)
        with sync_engine().connect() as connection:
            last = find_last_created(connection, {entry.task for entry in entries})
        for entry in entries:
            # The clock may have been put back since.
            entry.last_run_at = min(last.get(entry.task, entry.last_run_at), now)
        self._heap = None  # Celery's plan, made of what was remembered before.
        self._remembers = True
