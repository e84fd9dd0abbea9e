"""PostgreSQL is away for a while."""

import time
from collections.abc import Callable

import pytest

from tests.support.cluster import Cluster
from tests.support.held import blocking, held_analysis
from tests.support.invariants import check_everything_done_once
from tests.support.live import wait_until
from tests.support.workload import Workload, under_load

AWAY_SECONDS = 5


def stop(cluster: Cluster) -> None:
    cluster.database.stop()


@pytest.mark.parametrize("end", [stop, Cluster.kill_database], ids=["stopped", "killed"])
def test_what_was_accepted_under_load_is_analysed(
    cluster: Cluster, workload: Workload, end: Callable[[Cluster], None]
) -> None:
    with under_load(list(cluster.urls.values()), workload, per_second=30, outlier_share=0.01) as load:
        wait_until(lambda: len(load.ledger.accepted) > 60, "some load")
        end(cluster)
        time.sleep(AWAY_SECONDS)
        cluster.database.start()
        seen = len(load.ledger.accepted)
        wait_until(lambda: len(load.ledger.accepted) > seen + 60, "some load afterwards")

    assert load.ledger.abandoned == 0
    assert set(load.ledger.refused) == {503}
    check_everything_done_once(cluster, load.ledger.accepted)


def test_a_task_whose_end_could_not_be_written_is_run_again_and_changes_nothing(
    cluster: Cluster, workload: Workload
) -> None:
    with held_analysis(cluster, workload) as analysis:
        analysis.running()
        with blocking(cluster) as history:
            history.execute(
                "SELECT FROM task WHERE pipeline_execution_id = :execution_id FOR UPDATE",
                execution_id=analysis.execution_id,
            )
            analysis.blocker.release()
            wait_until(lambda: bool(history.sessions()), "the end of the task being written")
            history.cut_sessions()
            wait_until(lambda: not history.sessions(), "the session being cut")

    check_everything_done_once(cluster, [analysis.execution_id])
