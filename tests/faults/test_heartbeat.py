"""Somebody else hears that a part of Watcher is down, or hears nothing any more, and hears when all is well again.

Nobody waits for the minutes after which a part counts as down: what it did last is moved back in the database, where
the living do it again soon. Nor for the next full minute: a keeper that takes over calls at once.
"""

import pytest
from sqlalchemy import text

from tests.faults.conftest import PING
from tests.incidents.test_watcher import checked, up_for
from tests.support.cluster import LIMIT_SECONDS, Cluster
from tests.support.http_sink import HttpSink, Received
from tests.support.invariants import wait_until_at_rest
from tests.support.live import wait_until
from watcher_server.incidents.heartbeat import find_unanswered_calls


class Watch:
    """The other side, and a cluster whose keepers are ended so that another calls at once."""

    def __init__(self, cluster: Cluster, sink: HttpSink) -> None:
        self.cluster = cluster
        self.sink = sink

    def hears_that_all_is_well(self) -> None:
        """Wait for a call from now on."""
        self._wait_for("GET", PING)

    def hears_why_not(self) -> str:
        """Wait for a call from now on that says why Watcher is not well; what it says."""
        return self._wait_for("POST", f"{PING}/fail").body.decode()

    def _wait_for(self, method: str, path: str) -> Received:
        self._end_keepers()
        wait_until(lambda: self._was_called(method, path), f"{method} {path}", LIMIT_SECONDS)
        return self.sink.received[-1]

    def _was_called(self, method: str, path: str) -> bool:
        calls = [(call.method, call.path) for call in self.sink.received]
        if calls and calls[-1] != (method, path):
            self._end_keepers()
        return calls[-1:] == [(method, path)]

    def _end_keepers(self) -> None:
        self.sink.received.clear()
        with self.cluster.connect() as connection:
            ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'watcher keeper'"
            connection.execute(text(ended))


@pytest.fixture
def watch(cluster: Cluster, heartbeats: HttpSink) -> Watch:
    """Everything has run for long, and the other side hears so."""
    up_for(cluster.engine, 15)
    checked(cluster.engine, seconds=5)
    with cluster.connect() as connection:
        connection.execute(text("UPDATE worker SET started_at = now() - interval '1 hour'"))
    found = Watch(cluster, heartbeats)
    found.hears_that_all_is_well()
    return found


def move_back(cluster: Cluster, table: str, column: str, minutes: int) -> None:
    """Have it all happened so much earlier."""
    moved = f"UPDATE {table} SET {column} = {column} - make_interval(mins => :minutes)"
    with cluster.connect() as connection:
        connection.execute(text(moved), {"minutes": minutes})


def test_dead_workers_are_said_until_they_live_again(cluster: Cluster, watch: Watch) -> None:
    for name in ("worker-1", "worker-2"):
        cluster.parts[name].kill()
    move_back(cluster, "worker", "seen_at", minutes=3)

    assert "No worker is alive" in watch.hears_why_not()

    cluster.start_all()
    watch.hears_that_all_is_well()


def test_a_stopped_beat_is_said_until_it_runs_again(cluster: Cluster, watch: Watch) -> None:
    cluster.parts["beat"].kill()
    # What it sent last would be newer than what is moved back.
    wait_until_at_rest(cluster, LIMIT_SECONDS)
    move_back(cluster, "task", "created_at", minutes=15)

    said = watch.hears_why_not()
    assert "freshness_check_task" in said
    assert "is `watcher beat` alive?" in said

    cluster.start_all()
    watch.hears_that_all_is_well()


def test_with_a_stopped_database_nobody_is_called_until_it_is_back(cluster: Cluster, watch: Watch) -> None:
    cluster.database.stop()
    watch.sink.received.clear()
    looks = count_looks(cluster)
    # Each of them would make a call if it could.
    wait_until(lambda: count_looks(cluster) > looks + 3, "the keepers looking in vain", LIMIT_SECONDS)
    assert watch.sink.received == []

    cluster.database.start()
    wait_until(lambda: bool(watch.sink.received), "a call", LIMIT_SECONDS)
    assert watch.sink.received[0].method == "GET"


def test_another_side_that_does_not_answer_is_said_by_watcher(cluster: Cluster, watch: Watch) -> None:
    # The call of a full minute may come in between.
    for _ in range(5):
        watch.sink.say(500)
    watch.hears_that_all_is_well()

    wait_until(lambda: unanswered(cluster) == "The heartbeat URL answered with status 500", "that being known")
    watch.sink.script.clear()


def unanswered(cluster: Cluster) -> str | None:
    """What `watcher status` and the diagnosis say of it."""
    with cluster.connect() as connection:
        found = find_unanswered_calls(connection)
    return None if found is None else found.error


def count_looks(cluster: Cluster) -> int:
    """How often a keeper found no database."""
    return sum(part.output.count("The keeper waits for the database") for part in cluster.parts.values())
