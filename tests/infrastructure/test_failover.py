"""The primary dies under load, its replica is promoted, and the old primary comes back as a replica.

One api and one worker find the primary by a URL that names both servers, the other two by HAProxy.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from tests.conftest import serve
from tests.faults.conftest import QUICK
from tests.support.cluster import Cluster, start_cluster
from tests.support.invariants import check_everything_done_once, wait_until_at_rest
from tests.support.live import wait_until
from tests.support.middle import block, haproxy
from tests.support.postgres_pair import PostgresPair, postgres_pair
from tests.support.workload import Client, Ledger, RefusedError, Workload, make_workload, under_load
from watcher_server.app import create_app
from watcher_server.settings import load_settings

# From the promotion on.
BACK_WITHIN_SECONDS = 15
SETTINGS = {**QUICK, "WATCHER_FRESHNESS_CHECK_SCHEDULE": "0 0 1 1 *"}


@pytest.fixture(scope="module")
def pair() -> Iterator[PostgresPair]:
    with postgres_pair() as pair:
        pair.primary.execute(block("sql", "CREATE ROLE haproxy").partition("--")[0], "CREATE DATABASE watcher")
        yield pair


@pytest.fixture
def cluster(pair: PostgresPair, tmp_path: Path) -> Iterator[Cluster]:
    """Two apis and two workers, each kind on both ways to the database, and beat."""
    with (
        haproxy([node.port for node in pair.nodes], tmp_path) as port,
        start_cluster(SETTINGS, f"postgresql://postgres@{pair.hosts}/watcher") as cluster,
    ):
        through = {"WATCHER_DATABASE_URL": f"postgresql://postgres@127.0.0.1:{port}/watcher"}
        for name, settings in (("hosts", {}), ("haproxy", through)):
            cluster.add_api(f"api-{name}", **settings)
            cluster.add_worker(f"worker-{name}", **settings)
        cluster.add_beat()
        cluster.start_all()
        yield cluster


@dataclass
class Outage:
    """When the replica was promoted, after how many seconds each api took a whole run, and which runs these were."""

    promoted_at: datetime
    served: dict[str, float] = field(default_factory=dict)
    runs: list[int] = field(default_factory=list)


def fail_over(pair: PostgresPair, cluster: Cluster, workload: Workload) -> Outage:
    """Have the replica take the place of the primary, and wait until both apis take runs again."""
    pair.fail_over()
    outage, promoted = Outage(datetime.now(UTC)), time.monotonic()

    def all_serve() -> bool:
        for name, url in cluster.urls.items():
            if name not in outage.served and (run := report(url, workload)) is not None:
                outage.served[name] = time.monotonic() - promoted
                outage.runs.append(run)
        return len(outage.served) == len(cluster.urls)

    wait_until(all_serve, "both apis taking runs again", BACK_WITHIN_SECONDS)
    return outage


def report(url: str, workload: Workload) -> int | None:
    """The id of a run that began and ended; None while that is refused."""
    client = Client([url])
    try:
        started = client.post("/start_pipeline_execution", workload.start_body(workload.pipelines[0]))
        run = int(started.partition(b'"id":')[2].partition(b",")[0].strip(b" }"))
        client.post("/end_pipeline_execution", workload.end_body(run, outlier=False))
    except RefusedError:
        return None
    return run


@pytest.mark.parametrize(
    ("per_second", "failovers"),
    [(30, 1), pytest.param(100, 4, marks=[pytest.mark.long, pytest.mark.timeout(1800)])],
    ids=["short", "long"],
)
def test_what_was_answered_is_there_and_done_once(
    per_second: int, failovers: int, pair: PostgresPair, cluster: Cluster
) -> None:
    workload = make_workload(cluster.engine, f"orders at {per_second}", judged=5)
    outages = []
    with under_load(list(cluster.urls.values()), workload, per_second=per_second, failing_share=0.01) as load:
        for _ in range(failovers):
            before = len(load.ledger.accepted)
            wait_until(lambda before=before: len(load.ledger.accepted) > before + 5 * per_second, "some load", 90)  # type: ignore[misc]
            outages.append(fail_over(pair, cluster, workload))
            pair.bring_back()

    assert load.ledger.abandoned == 0
    assert set(load.ledger.refused) <= {503, None}
    # A machine with other work to do has a backlog.
    wait_until_at_rest(cluster, 600)
    check_everything_done_once(cluster, load.ledger.accepted)
    show(cluster, load.ledger, per_second, outages)


ANALYSED = """
SELECT extract(epoch FROM max(finished_at) - :promoted_at) FROM task
WHERE pipeline_execution_id = ANY(:runs) AND name = 'detect_anomalies_task'
"""


def show(cluster: Cluster, ledger: Ledger, per_second: int, outages: Sequence[Outage]) -> None:
    """Print the figures of docs/reliability.md."""
    refused = ", ".join(f"{number} with {status or 'no answer'}" for status, number in ledger.refused.items())
    lines = [f"{len(ledger.accepted):,} runs at {per_second} a second; refused, and sent again: {refused}"]
    for outage in outages:
        served = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in outage.served.items())
        with cluster.connect() as connection:
            about = {"promoted_at": outage.promoted_at, "runs": outage.runs}
            analysed = connection.scalar(text(ANALYSED), about)
        lines.append(f"from the promotion: {served}; these runs analysed after {analysed:.1f} s")
    sys.stdout.write("\n" + "\n".join(lines) + "\n")


async def test_sessions_leave_a_primary_that_lives_on_and_takes_no_writes(pair: PostgresPair) -> None:
    url = f"postgresql://postgres@{pair.hosts}/watcher"
    settings = load_settings(relay_enabled=False, database_url=url, ingest_pool_size=1, query_pool_size=1)
    pipeline = {"name": "left behind", "pipeline_type_name": "load"}
    async with serve(create_app(settings)) as client:
        registered = await client.post("/pipeline", json=pipeline)
        run = {"pipeline_id": registered.json()["id"]}
        assert (await client.post("/start_pipeline_execution", json=run)).is_success
        fenced = pair.primary
        fenced.execute("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
        pair.replica.promote()

        # Each pool has one connection, which the first request finds unfit.
        first = [
            await client.post("/start_pipeline_execution", json=run),
            await client.post("/pipeline", json={**pipeline, "name": "b"}),
        ]
        second = [
            await client.post("/start_pipeline_execution", json=run),
            await client.post("/pipeline", json={**pipeline, "name": "b"}),
        ]

    assert [answer.status_code for answer in first] == [503, 503]
    assert all(answer.is_success for answer in second), [answer.text for answer in second]
    with psycopg.connect(pair.replica.url, dbname="watcher") as connection:
        row = connection.execute(
            "SELECT count(*) FROM pipeline_execution WHERE pipeline_id = %s", [run["pipeline_id"]]
        ).fetchone()
    assert row == (2,)
