"""Processes that die in the middle of thousands of events, and an event that nobody can apply."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random

import httpx
from sqlalchemy import Engine, text

from tests.openlineage.kept import NO_EVENT, kept, put_raw, query, state_of
from tests.support.cluster import LIMIT_SECONDS, Cluster
from tests.support.invariants import wait_until_at_rest
from tests.support.live import wait_until
from tests.support.openlineage import Event, dataset, later, output, parent, put, run_event, send

START = datetime(2026, 3, 1, tzinfo=UTC)


def nights(number: int = 50, tasks: int = 24) -> list[Event]:
    """Runs of a DAG and its tasks, each event twice, in no order; every seventh task failed."""
    events = []
    for night in range(number):
        start, run = START + timedelta(hours=night), f"night {night}"
        events.append(run_event("START", start, job="dag", run=run))
        for task in range(tasks):
            job, at = f"dag.task_{task}", later(start, 10 * task)
            facets = parent("dag", run)
            events.append(run_event("START", at, job=job, run=run, run_facets=facets, inputs=[dataset(f"s.t.{task}")]))
            kind = "FAIL" if (night + task) % 7 == 0 else "COMPLETE"
            written = [output(f"s.t.{task + 1}", rows=night)]
            events.append(run_event(kind, later(at, 5), job=job, run=run, run_facets=facets, outputs=written))
        events.append(run_event("COMPLETE", later(start, 10 * tasks), job="dag", run=run))
    events += events
    Random(7).shuffle(events)  # noqa: S311 - not a secret
    return events


def in_the_middle(cluster: Cluster) -> None:
    """Wait until some of the events are applied."""
    statement = "SELECT count(*) FROM openlineage_event WHERE applied_at IS NOT NULL"
    wait_until(lambda: query(cluster.engine, statement)[0][0] > 200, "some events being applied", LIMIT_SECONDS)
    assert "waiting" in kept(cluster.engine).values()


def wait_until_applied(cluster: Cluster) -> None:
    """Wait until no event waits, and no task."""
    waits = text("SELECT EXISTS (SELECT FROM openlineage_event WHERE applied_at IS NULL)")
    with cluster.connect() as connection:
        wait_until(lambda: not connection.scalar(waits), "all events being applied", 2 * LIMIT_SECONDS)
    wait_until_at_rest(cluster, LIMIT_SECONDS)


def state_without_faults(engine: Engine, events: list[Event]) -> list[list[tuple[object, ...]]]:
    send(engine, *events)
    return state_of(engine)


def check_the_end_state(cluster: Cluster, engine: Engine, kill: Callable[[], None]) -> None:
    events = nights()
    expected = state_without_faults(engine, events)
    assert len(expected[0]) == 50 * 25
    put(cluster.engine, events)
    in_the_middle(cluster)
    kill()
    wait_until_applied(cluster)

    assert state_of(cluster.engine) == expected
    assert set(kept(cluster.engine).values()) == {"applied"}
    assert query(cluster.engine, "SELECT title FROM alert WHERE title LIKE 'OpenLineage%'") == []


def test_workers_that_die_in_the_middle_of_events_leave_the_state_that_it_would_have_been(
    cluster: Cluster, engine: Engine
) -> None:
    def kill() -> None:
        for name in ("worker-1", "worker-2"):
            cluster.parts[name].kill()
        for name in ("worker-1", "worker-2"):
            cluster.parts[name].start()

    check_the_end_state(cluster, engine, kill)


def test_apis_that_die_in_the_middle_of_events_leave_the_state_that_it_would_have_been(
    cluster: Cluster, engine: Engine
) -> None:
    def kill() -> None:
        for name in ("api-1", "api-2"):
            cluster.parts[name].kill()
        for name in ("api-1", "api-2"):
            cluster.parts[name].start()
            cluster.wait_until_ready(cluster.parts[name])

    check_the_end_state(cluster, engine, kill)


def test_an_event_that_nobody_can_apply_is_listed_told_once_and_replayed_when_it_is_mended(cluster: Cluster) -> None:
    url = next(iter(cluster.urls.values()))
    events = nights(number=4)
    put(cluster.engine, events[:100])
    poison = [put_raw(cluster.engine), put_raw(cluster.engine)]
    put(cluster.engine, events[100:])
    wait_until_applied(cluster)

    listed = httpx.get(f"{url}/openlineage/events", timeout=30).json()["events"]
    assert sorted(event["id"] for event in listed) == poison
    assert httpx.get(f"{url}/openlineage/status", timeout=30).json()["failed"] == 2
    assert len(query(cluster.engine, "SELECT FROM pipeline_execution")) == 4 * 25
    told = [one for one in cluster.slack.texts if "OpenLineage Event Failed" in one]
    assert len(told) == 1

    (good,) = query(cluster.engine, "SELECT body FROM openlineage_event WHERE body <> :body LIMIT 1", body=NO_EVENT)
    with cluster.engine.begin() as connection:
        connection.execute(text("UPDATE openlineage_failed_event SET body = :body"), {"body": good[0]})
    answer = httpx.post(f"{url}/openlineage/replay", json={"state": "failed"}, timeout=30)
    assert (answer.status_code, answer.json()) == (202, {"replayed": 2, "unknown": []})
    wait_until_applied(cluster)
    assert set(kept(cluster.engine).values()) == {"applied"}
    assert len([one for one in cluster.slack.texts if "OpenLineage Event Failed" in one]) == 1
