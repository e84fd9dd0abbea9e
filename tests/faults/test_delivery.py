"""Tasks that are delivered twice, and tasks that fail for good."""

from uuid import UUID

import httpx
from sqlalchemy import text

from tests.support.cluster import Cluster
from tests.support.held import held_analysis
from tests.support.invariants import check_everything_done_once, wait_until_at_rest
from tests.support.live import wait_until
from tests.support.workload import Client, Workload, under_load
from watcher_server.tasking.sending.outbox import enqueue_call


def deliver_again(cluster: Cluster, task_id: UUID, times: int) -> None:
    """Put a task into the outbox once more, under its id, as often as that."""
    with cluster.engine.begin() as connection:
        task = connection.execute(text("SELECT name, kwargs FROM task WHERE id = :id"), {"id": task_id}).one()
        for _ in range(times):
            enqueue_call(connection, task.name, task.kwargs, task_id=task_id)


def test_a_task_that_is_delivered_while_it_runs_has_its_effects_once(cluster: Cluster, workload: Workload) -> None:
    with held_analysis(cluster, workload) as analysis:
        analysis.running()
        task = analysis.task()
        assert task is not None
        deliver_again(cluster, task.id, 1)
        wait_until(
            lambda: analysis.began_at() not in {None, task.started_at}, "the second delivery being under way too"
        )

    check_everything_done_once(cluster, [analysis.execution_id])


def test_a_task_that_waits_twice_is_run_and_keeps_no_other_from_running(cluster: Cluster, workload: Workload) -> None:
    with held_analysis(cluster, workload) as analysis:
        analysis.running()
        task = analysis.task()
        assert task is not None
        deliver_again(cluster, task.id, 3)
        with under_load(list(cluster.urls.values()), workload, per_second=10) as load:
            wait_until(lambda: len(load.ledger.accepted) > 10, "some load")

    check_everything_done_once(cluster, [analysis.execution_id, *load.ledger.accepted])


def test_a_task_that_failed_for_good_is_kept_alerted_and_succeeds_when_it_is_retried(
    cluster: Cluster, workload: Workload
) -> None:
    url = cluster.urls["api-1"]
    with cluster.connect() as connection:
        connection.execute(text("ALTER TABLE anomaly_detection_result RENAME TO misplaced"))
    try:
        with under_load([url], workload, per_second=10) as load:
            wait_until(lambda: len(load.ledger.accepted) > 5, "some runs")
        wait_until_at_rest(cluster, 60)
        failed = httpx.get(f"{url}/tasks", params={"state": "FAILURE", "limit": 100}).json()["tasks"]
    finally:
        with cluster.connect() as connection:
            connection.execute(text("ALTER TABLE misplaced RENAME TO anomaly_detection_result"))

    assert {task["pipeline_execution_id"] for task in failed} == set(load.ledger.accepted)
    assert {task["meta"]["exc_type"] for task in failed} == {"ProgrammingError"}
    assert sum("detect_anomalies_task failed for good" in message for message in cluster.slack.messages()) == 1
    assert httpx.post(f"{url}/tasks/{failed[0]['id']}/retry").status_code == 202
    assert Client([url]).post("/tasks/retry-failed", {})
    check_everything_done_once(cluster, load.ledger.accepted)
