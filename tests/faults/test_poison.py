"""A task that kills whatever process runs it."""

from datetime import datetime

import httpx

from tests.support.cluster import LIMIT_SECONDS, Cluster, kill
from tests.support.held import HeldAnalysis, held_analysis
from tests.support.invariants import find_violations, wait_until_at_rest
from tests.support.live import wait_until
from tests.support.workload import Workload, under_load


def kill_every_process_that_runs_it(analysis: HeldAnalysis) -> None:
    """Kill its process as soon as a try begins, until there are no more tries."""
    killed: set[datetime | None] = {None}
    while analysis.state() != "FAILURE":
        wait_until(
            lambda: analysis.began_at() not in killed or analysis.state() == "FAILURE",
            "another try, or the end of them",
            LIMIT_SECONDS,
        )
        killed.add(analysis.began_at())
        worker = analysis.worker()
        for child in worker.children() if worker else []:
            kill(child)


def test_it_fails_after_some_deaths_the_rest_goes_on_and_it_can_be_retried(
    cluster: Cluster, workload: Workload
) -> None:
    urls = list(cluster.urls.values())
    with held_analysis(cluster, workload) as poison, under_load(urls, workload, per_second=5) as load:
        poison.running()
        kill_every_process_that_runs_it(poison)
        seen = len(load.ledger.accepted)
        wait_until(lambda: len(load.ledger.accepted) > seen + 5, "some load after its failure")

    task = poison.task()
    assert task is not None
    assert task.meta["exc_type"] == "PoisonedTaskError"
    # More than five when the keeper had sent it again before the broker gave it back.
    assert poison.deaths() >= 5
    assert httpx.post(f"{urls[0]}/tasks/{task.id}/retry").status_code == 202
    # Not that each alert came once: the last of the kills may hit a process that is delivering one.
    wait_until_at_rest(cluster, LIMIT_SECONDS)
    assert find_violations(cluster, [poison.execution_id, *load.ledger.accepted]) == []
