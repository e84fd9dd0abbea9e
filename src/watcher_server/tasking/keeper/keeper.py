"""The keeper: duties that must be done even when no worker is free, by one process of all."""

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from watcher_server.database.engine import database_engine, ping_after_idling, require_writable, session_settings
from watcher_server.database.locks import KEEPER_LOCK, LOCK_HOLDER_SETTINGS, SILENT_SECONDS
from watcher_server.kit.clock import ClockJumps
from watcher_server.settings import Settings
from watcher_server.tasking.history.service import trim_history
from watcher_server.tasking.keeper.duties import Duty, each_minute, every, in_transaction, on_autocommit
from watcher_server.tasking.keeper.recovery import Recovery
from watcher_server.tasking.queues.depths import measure_queues
from watcher_server.tasking.queues.history import store_samples

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 2.0
_TRIM_SECONDS = 3600.0
# A leader does not ask again within this time whether it still leads.
_SURE_SECONDS = 0.5
# Workers say every five seconds at least that they live.
_HEARTBEAT_SECONDS = 7.0
_TRIM_BATCH = 5_000


class Keeper:
    """A thread beside every relay. The one that holds an advisory lock does the work; the others wait for its end.

    Only what is to be done everywhere each of them does.

    It puts lost tasks back, samples the queues and trims the history. The application hands in what else there is to
    do, such as the duties about alerts.
    """

    def __init__(self, settings: Settings, further: Sequence[Duty] = ()) -> None:
        self._settings = settings
        self._further = [duty for duty in further if not duty.everywhere]
        self._everywhere = [duty for duty in further if duty.everywhere]
        self._done_everywhere_at: dict[str, datetime] = {}
        told = {**session_settings(timeout_seconds=60), **LOCK_HOLDER_SETTINGS}
        told["idle_session_timeout"] = f"{SILENT_SECONDS}s"
        self._engine = database_engine(
            # A lock that lasts as long as its session does not survive a pooler.
            settings.direct_database,
            told,
            application_name="watcher keeper",
            # Connections are kept: to open one costs more than most duties, and there is one to do every second.
            pool_size=2,
            pool_use_lifo=True,
        )
        ping_after_idling(self._engine)
        self._jumps = ClockJumps()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Finish the duty at hand and end the thread."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=10)
        self._engine.dispose()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._do_everywhere()
                with self._session() as connection:
                    self._wait_for_lead(connection)
                    self._keep(connection)
            except SQLAlchemyError as error:
                logger.info("The keeper waits for the database: %s", type(error).__name__)
            except Exception:
                # Without this thread no process would notice lost tasks.
                logger.exception("The keeper starts again.")
            self._stopping.wait(_LOOK_SECONDS)

    @contextmanager
    def _session(self) -> Iterator[Connection]:
        """A session of its own, which is to hold the lock."""
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            try:
                yield connection
            finally:
                # The lock ends with the session.
                connection.invalidate()

    def _wait_for_lead(self, connection: Connection) -> None:
        """Return once this session holds the lock, or the keeper is to stop."""
        asked = text("SELECT pg_try_advisory_lock(:key)")
        while not self._stopping.is_set() and not connection.scalar(asked, {"key": KEEPER_LOCK}):
            self._stopping.wait(_LOOK_SECONDS)
            self._do_everywhere()

    def _keep(self, connection: Connection) -> None:
        began_at = datetime.now(UTC)
        duties = [*self._own_duties(), *self._further]
        done_at = {duty.name: began_at for duty in duties if not duty.at_once}
        while not self._stopping.is_set():
            # Fails also when the session, and the lock with it, is gone.
            require_writable(connection)
            sure_until = time.monotonic() + _SURE_SECONDS
            if self._jumps.seconds():
                # By the new time every worker was last seen long ago, or will be only later.
                logger.warning("The clock jumped: the keeper waits until all workers have been heard of again.")
                self._stopping.wait(_HEARTBEAT_SECONDS)
            for duty in duties:
                if not self._stopping.is_set() and _is_due(duty, done_at):
                    # The duty before may have taken its time. Of an idle keeper all take some milliseconds together.
                    if time.monotonic() > sure_until:
                        require_writable(connection)
                        sure_until = time.monotonic() + _SURE_SECONDS
                    self._do(duty, done_at)
            self._do_everywhere()
            self._stopping.wait(_LOOK_SECONDS)

    def _do_everywhere(self) -> None:
        for duty in self._everywhere:
            if _is_due(duty, self._done_everywhere_at):
                self._do(duty, self._done_everywhere_at)

    def _do(self, duty: Duty, done_at: dict[str, datetime]) -> None:
        done_at[duty.name] = datetime.now(UTC)
        try:
            duty.do(self._engine)
        except Exception as error:  # noqa: BLE001 - one duty that fails keeps no other from being done
            _warn(duty, error)

    def _own_duties(self) -> list[Duty]:
        recovery = Recovery(self._settings)
        # After an outage of the database every worker looks as if it had not been seen for long.
        trusts_heartbeats_at = time.monotonic() + self._settings.lost_task_after_seconds
        return [
            Duty(
                "return lost tasks",
                # It writes with one statement.
                on_autocommit(recovery.return_lost),
                lambda _: time.monotonic() >= trusts_heartbeats_at,
            ),
            # The keeper before this one may have ended before it stored the sample of this minute.
            Duty("sample the queues", in_transaction(self._sample_queues), each_minute, at_once=True),
            Duty("trim the history", self._trim_history, every(seconds=_TRIM_SECONDS)),
        ]

    def _sample_queues(self, connection: Connection) -> None:
        began_at = datetime.now(UTC)
        store_samples(connection, measure_queues(connection, self._settings), began_at)

    def _trim_history(self, engine: Engine) -> None:
        settings, deleted = self._settings, _TRIM_BATCH
        while deleted >= _TRIM_BATCH and not self._stopping.is_set():
            with engine.begin() as connection:
                deleted = trim_history(
                    connection, settings.task_history_days, settings.failed_task_history_days, _TRIM_BATCH
                )


def _is_due(duty: Duty, done_at: dict[str, datetime]) -> bool:
    try:
        return duty.name not in done_at or duty.due(done_at[duty.name])
    except Exception as error:  # noqa: BLE001 - one duty that fails keeps no other from being done
        _warn(duty, error)
        return False


def _warn(duty: Duty, error: Exception) -> None:
    logger.warning("The keeper could not %s: %s: %s", duty.name, type(error).__name__, error)
