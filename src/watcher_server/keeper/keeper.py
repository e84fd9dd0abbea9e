"""The keeper: what must be looked after even when no worker is free, done by one process of all."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from celery.schedules import crontab
from sqlalchemy import Connection, Engine, NullPool, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from watcher_server.alerts.late import deliver_late_alerts
from watcher_server.database.engine import CONNECT_OPTIONS, session_options, sqlalchemy_url
from watcher_server.database.locks import KEEPER_LOCK, LOCK_HOLDER_OPTIONS
from watcher_server.keeper.queues import QueueWatch, is_another_minute
from watcher_server.keeper.recovery import Recovery
from watcher_server.settings import Settings
from watcher_server.task_history.service import trim_history

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 2.0
_ALERTS_SECONDS = 15.0
_TRIM_SECONDS = 3600.0
_TRIM_BATCH = 5_000
_STOP_SECONDS = 10.0
_STATEMENT_SECONDS = 60
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass
class _Duty:
    """Something to do again and again; ``due`` says from the moment it was last done whether it is time."""

    name: str
    do: Callable[[Engine], object]
    due: Callable[[datetime], bool]
    done_at: datetime

    def do_if_due(self, engine: Engine) -> None:
        try:
            if self.due(self.done_at):
                self.done_at = datetime.now(UTC)
                self.do(engine)
        except Exception as error:  # noqa: BLE001 - one duty that fails keeps no other from being done
            logger.warning("The keeper could not %s: %s: %s", self.name, type(error).__name__, error)


class Keeper:
    """A thread beside every relay. The one that holds an advisory lock does the work; the others wait for its end.

    It puts lost tasks back, samples the queues and looks at them, delivers alerts that no worker delivers, and trims
    the history.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._engine = create_engine(
            sqlalchemy_url(settings.database),
            poolclass=NullPool,
            connect_args={
                "options": f"{session_options(timeout_seconds=_STATEMENT_SECONDS)} {LOCK_HOLDER_OPTIONS}",
                **CONNECT_OPTIONS,
                "application_name": "watcher keeper",
            },
        )
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        """Begin to look after things."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the duty at hand and end the thread."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._leadership() as connection:
                    if connection is not None:
                        self._keep(connection)
            except SQLAlchemyError as error:
                logger.info("The keeper waits for the database: %s", type(error).__name__)
            except Exception:
                # Without this thread no process would notice what is lost.
                logger.exception("The keeper begins anew.")
            self._stopping.wait(_LOOK_SECONDS)

    @contextmanager
    def _leadership(self) -> Iterator[Connection | None]:
        """The connection whose session holds the lock; None while another process has it."""
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            held = connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": KEEPER_LOCK})
            yield connection if held else None

    def _keep(self, connection: Connection) -> None:
        duties = self._duties()
        while not self._stopping.is_set():
            connection.execute(text("SELECT 1"))  # Fails when the session, and the lock with it, is gone.
            for duty in duties:
                duty.do_if_due(self._engine)
            self._stopping.wait(_LOOK_SECONDS)

    def _duties(self) -> list[_Duty]:
        settings, recovery, queues = self._settings, Recovery(self._settings), QueueWatch(self._settings)
        now = datetime.now(UTC)
        # After an outage of the database every worker looks as if it had not been seen for long.
        patience = now + timedelta(seconds=settings.lost_task_after_seconds)
        checks = crontab.from_string(settings.celery_queue_health_check_schedule)
        return [
            _Duty("return lost tasks", _in_transaction(recovery.return_lost), _after(patience), now),
            # At once: the keeper before this one may have ended before it wrote down this minute.
            _Duty("sample the queues", _in_transaction(queues.sample), _each_minute, _NEVER),
            _Duty(
                "look at the queues",
                _in_transaction(queues.alert),
                lambda done_at: checks.remaining_estimate(done_at) <= timedelta(0),
                now,
            ),
            _Duty("deliver alerts", lambda engine: deliver_late_alerts(engine, settings), _every(_ALERTS_SECONDS), now),
            _Duty("trim the history", self._trim, _every(_TRIM_SECONDS), now),
        ]

    def _trim(self, engine: Engine) -> None:
        settings, deleted = self._settings, _TRIM_BATCH
        while deleted >= _TRIM_BATCH and not self._stopping.is_set():
            with engine.begin() as connection:
                deleted = trim_history(
                    connection, settings.task_history_days, settings.failed_task_history_days, _TRIM_BATCH
                )


def _in_transaction(do: Callable[[Connection], object]) -> Callable[[Engine], object]:
    def run(engine: Engine) -> object:
        with engine.begin() as connection:
            return do(connection)

    return run


def _every(seconds: float) -> Callable[[datetime], bool]:
    return lambda done_at: datetime.now(UTC) - done_at >= timedelta(seconds=seconds)


def _each_minute(done_at: datetime) -> bool:
    return is_another_minute(done_at, datetime.now(UTC))


def _after(moment: datetime) -> Callable[[datetime], bool]:
    return lambda _: datetime.now(UTC) >= moment
