"""Two walkers that share what a large rebuild has left over, each with a thread and a connection of its own."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from threading import Event

from sqlalchemy import Connection

from watcher_server.lineage.closure import PART_ROWS, Report, walk_remaining
from watcher_server.lineage.walk import ClosureChange

Transaction = Callable[[], AbstractContextManager[Connection]]


def walk_together(
    transaction: Transaction, change: ClosureChange, remaining: int, report: Report, *, most_rows: int = PART_ROWS
) -> None:
    """Walk from the sources that remain, until each is walked from or is another rebuild's; part by part, as rebuilds.

    PostgreSQL takes in the rows of one walker while it takes in those of the other. What both wrote is added to
    ``change``. Only the caller's thread reports. When either fails, the other stops and the error is raised.
    """
    stopped, helped = Event(), ClosureChange()
    total = change.sources + remaining

    def report_walked() -> None:
        done = min(change.sources + helped.sources, total)
        report(f"Walked from {done:,} of {total:,} addresses", 100 * done // total)

    def walk_all(change: ClosureChange, report: Callable[[], None] = lambda: None) -> None:
        _walk_all(transaction, change, stopped, report, most_rows)

    with ThreadPoolExecutor(1, "closure-walker") as threads:
        helper = threads.submit(walk_all, helped)
        try:
            walk_all(change, report_walked)
            helper.result()
        except BaseException:
            # The time limit of the task may be met while only the helper walks.
            stopped.set()
            raise
    change.add(helped)


def _walk_all(
    transaction: Transaction, change: ClosureChange, stopped: Event, report: Callable[[], None], most_rows: int
) -> None:
    def go_on(_walked: int) -> None:
        report()
        if stopped.is_set():
            raise _StoppedError

    went_on = True
    try:
        while went_on:
            with transaction() as connection:
                went_on = walk_remaining(connection, change, go_on, most_rows=most_rows)
    except _StoppedError:
        # The walker that failed raises its own error. The part at hand is rolled back and remains.
        return
    except BaseException:
        stopped.set()
        raise


class _StoppedError(Exception):
    """The other walker has failed."""
