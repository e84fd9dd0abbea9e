"""Workers that die, or are stopped, in the middle of their work."""

from sqlalchemy import text

from tests.support.cluster import LIMIT_SECONDS, Cluster, kill
from tests.support.held import blocking, held_analysis
from tests.support.invariants import check_everything_done_once, find_violations, wait_until_at_rest
from tests.support.live import wait_until
from tests.support.workload import Client, Workload, under_load
from watcher_server.database.locks import REBUILD_LOCK

# WATCHER_WORKER_STOP_SECONDS, and room for a machine that does much else.
STOP_WITHIN_SECONDS = 3 + 20


def test_a_task_of_a_killed_worker_is_run_by_another(cluster: Cluster, workload: Workload) -> None:
    with held_analysis(cluster, workload) as analysis:
        dead = analysis.running()
        dead.kill()
        wait_until(lambda: analysis.worker() not in {None, dead}, "another worker taking over", LIMIT_SECONDS)

    check_everything_done_once(cluster, [analysis.execution_id])
    assert analysis.deaths() == 1


def test_a_task_whose_process_outlives_its_killed_worker_has_its_effects_once(
    cluster: Cluster, workload: Workload
) -> None:
    with held_analysis(cluster, workload) as analysis:
        dead = analysis.running()
        dead.kill_main()
        wait_until(lambda: analysis.worker() not in {None, dead}, "another worker taking over", LIMIT_SECONDS)

    check_everything_done_once(cluster, [analysis.execution_id])


def test_a_task_of_a_killed_process_of_the_pool_is_run_again(cluster: Cluster, workload: Workload) -> None:
    with held_analysis(cluster, workload) as analysis:
        worker = analysis.running()
        for child in worker.children():
            kill(child)
        wait_until(lambda: analysis.deaths() == 1, "the task being run again", LIMIT_SECONDS)

    assert worker.runs
    check_everything_done_once(cluster, [analysis.execution_id])


def test_work_waits_while_every_worker_is_dead(cluster: Cluster, workload: Workload) -> None:
    with under_load(list(cluster.urls.values()), workload, per_second=20) as load:
        wait_until(lambda: len(load.ledger.accepted) > 20, "some load")
        for name in ("worker-1", "worker-2"):
            cluster.parts[name].kill()
        seen = len(load.ledger.accepted)
        wait_until(lambda: len(load.ledger.accepted) > seen + 20, "some load without any worker")
        cluster.parts["worker-1"].start()

    assert not load.ledger.refused
    check_everything_done_once(cluster, load.ledger.accepted)


def test_a_worker_stopped_under_load_loses_nothing(cluster: Cluster, workload: Workload) -> None:
    worker = cluster.parts["worker-1"]
    with under_load(list(cluster.urls.values()), workload, per_second=40) as load:
        wait_until(lambda: len(load.ledger.accepted) > 40, "some load")
        worker.stop(STOP_WITHIN_SECONDS)
        seen = len(load.ledger.accepted)
        wait_until(lambda: len(load.ledger.accepted) > seen + 20, "some load without it")

    check_everything_done_once(cluster, load.ledger.accepted)


def test_a_worker_that_is_stopped_returns_what_it_cannot_finish(cluster: Cluster, workload: Workload) -> None:
    with held_analysis(cluster, workload) as analysis:
        worker = analysis.running()
        worker.stop(STOP_WITHIN_SECONDS)
        wait_until(lambda: analysis.worker() not in {None, worker}, "another worker taking over", LIMIT_SECONDS)

    check_everything_done_once(cluster, [analysis.execution_id])


def test_a_worker_that_was_taken_for_dead_and_wakes_up_does_nothing_twice(cluster: Cluster, workload: Workload) -> None:
    with held_analysis(cluster, workload) as analysis:
        asleep = analysis.running()
        asleep.suspend()
        wait_until(lambda: analysis.worker() not in {None, asleep}, "another worker taking over", LIMIT_SECONDS)
    asleep.resume()

    check_everything_done_once(cluster, [analysis.execution_id])


def test_a_rebuild_of_the_lineage_closure_outlives_its_worker(cluster: Cluster, workload: Workload) -> None:
    pairs = [("a", "b"), ("b", "c"), ("c", "a"), ("b", "d"), ("c", "d")]
    with blocking(cluster) as blocker:
        blocker.execute(f"SELECT pg_advisory_xact_lock({REBUILD_LOCK})")
        for pipeline_id, (source, target) in zip(workload.pipelines, pairs, strict=True):
            load_lineage(cluster, pipeline_id, source, target)
        wait_until(lambda: bool(rebuilding(cluster)), "a rebuild being under way")
        before = rebuilding(cluster)
        dead = next(part for part in cluster.parts.values() if part.process.pid in before)
        dead.kill()
        wait_until(lambda: dead.process.pid not in rebuilding(cluster), "others taking over", LIMIT_SECONDS)

    wait_until_at_rest(cluster, LIMIT_SECONDS)
    assert find_violations(cluster) == []


def load_lineage(cluster: Cluster, pipeline_id: int, source: str, target: str) -> None:
    kind = {"address_type_name": "file", "address_type_group_name": "storage"}
    body = {"source_addresses": [{"name": source, **kind}], "target_addresses": [{"name": target, **kind}]}
    Client(list(cluster.urls.values())).post("/address_lineage", {"pipeline_id": pipeline_id, **body})


def rebuilding(cluster: Cluster) -> set[int]:
    """The process ids of the workers that rebuild the closure."""
    with cluster.connect() as connection:
        statement = """
            SELECT worker.pid FROM task JOIN worker ON worker.id = task.worker_id
            WHERE task.name = 'address_lineage_closure_rebuild_task' AND task.state = 'PROGRESS'
        """
        return set(connection.scalars(text(statement)))
