"""What the keeper does, and when it is due."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from celery.schedules import crontab
from sqlalchemy import Connection, Engine, text

from watcher_server.tasking.queues.history import start_of_minute

# Whether it is time, by the moment (UTC) at which the duty was last done or the keeper began to lead.
Due = Callable[[datetime], bool]


@dataclass(frozen=True)
class Duty:
    """Something to do again and again. Its name completes the sentence "The keeper could not …".

    With ``at_once`` it is also done when the keeper begins to lead. What is to be done ``everywhere`` every process
    does for itself, whether its keeper leads or not, and at once.
    """

    name: str
    do: Callable[[Engine], object]
    due: Due
    at_once: bool = False
    everywhere: bool = False


def every(*, seconds: float) -> Due:
    """Due that long after it was last done, and when the clock was put back behind that."""
    return lambda done_at: not timedelta(0) <= datetime.now(UTC) - done_at < timedelta(seconds=seconds)


def each_minute(done_at: datetime) -> bool:
    """Due when the full minute is another one, be it an earlier one: clocks are put back too."""
    return start_of_minute(datetime.now(UTC)) != start_of_minute(done_at)


def by_cron(cron: str) -> Due:
    """Due when the cron expression (UTC) has come round since, and when the clock was put back behind that."""
    schedule = crontab.from_string(cron)
    return lambda done_at: done_at > datetime.now(UTC) or schedule.remaining_estimate(done_at) <= timedelta(0)


def in_transaction(do: Callable[[Connection], object], *, only_if: str | None = None) -> Callable[[Engine], object]:
    """The same on a connection, in one transaction.

    ``only_if`` is a statement that says whether there is anything to do. It takes one round trip, and a transaction
    two more, which is most of what a keeper does that looks every few seconds and finds nothing.
    """

    def run(engine: Engine) -> object:
        if only_if is not None:
            with looking(engine) as connection:
                if not connection.scalar(text(only_if)):
                    return None
        with engine.begin() as connection:
            return do(connection)

    return run


def on_autocommit(do: Callable[[Connection], object]) -> Callable[[Engine], object]:
    """The same on a connection, on which each statement is its own transaction."""

    def run(engine: Engine) -> object:
        with looking(engine) as connection:
            return do(connection)

    return run


def looking(engine: Engine) -> Connection:
    """A connection on which a statement takes one round trip: it is its own transaction."""
    return engine.connect().execution_options(isolation_level="AUTOCOMMIT")
