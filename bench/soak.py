"""``make soak``: a steady load on a cluster whose parts are killed all the time, and whether anything was lost."""

import argparse
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection, text

from tests.support.cluster import Cluster, Part, kill, start_cluster
from tests.support.invariants import find_repeated_alerts, find_violations, wait_until_at_rest
from tests.support.three_channels import three_channels
from tests.support.workload import Ledger, Load, Workload, make_workload

JUDGED_PIPELINES, PLAIN_PIPELINES = 20, 80
THREADS = 16
FAILING_SHARE = 0.01
PAUSE_SECONDS = (10.0, 20.0)
DEAD_SECONDS = (1.0, 3.0)
DATABASE_AWAY_SECONDS = (2.0, 5.0)
# What is told of the queues is over soon after the load is.
OFTEN = {"WATCHER_CELERY_QUEUE_HEALTH_CHECK_SCHEDULE": "* * * * *"}
# Every back-off of a task, one after the other.
DRAIN_SECONDS = 1200


@dataclass(frozen=True)
class Fault:
    """What was done to the cluster, and when (UTC)."""

    kind: str
    at: datetime


class Chaos:
    """Kills something every ten to twenty seconds, and starts it again; ``died`` is what ended without being killed."""

    def __init__(self, cluster: Cluster, console: Console, seed: int) -> None:
        self.faults: list[Fault] = []
        self.died: list[str] = []
        self._console = console
        self._cluster = cluster
        self._chance = random.Random(seed)  # noqa: S311 - faults need no secret
        self._kinds: dict[str, Callable[[], None]] = {
            "worker": lambda: self._kill_and_start(self._pick("worker")),
            "process of a worker's pool": self._kill_child,
            "api": lambda: self._kill_and_start(self._pick("api")),
            "broker": self._restart_broker,
            "database": self._stop_database,
        }
        self._turn: list[str] = []

    def run(self, seconds: float) -> None:
        """Go on for so long; it ends with everything running."""
        began = time.monotonic()
        while (pause := self._chance.uniform(*PAUSE_SECONDS)) < began + seconds - time.monotonic():
            time.sleep(pause)
            self._note_deaths()
            kind = self._next_kind()
            self._console.print(f"{time.monotonic() - began:5.0f} s  {kind}")
            self.faults.append(Fault(kind, datetime.now(UTC)))
            self._kinds[kind]()
        time.sleep(max(0.0, began + seconds - time.monotonic()))
        self._note_deaths()
        self._cluster.start_all()

    def _note_deaths(self) -> None:
        for part in self._cluster.parts.values():
            if not part.runs:
                self.died.append(part.name)
                part.start()

    def _next_kind(self) -> str:
        """Each kind once, in a random order, then again: a short run has seen all of them too."""
        if not self._turn:
            self._turn = self._chance.sample(sorted(self._kinds), len(self._kinds))
        return self._turn.pop()

    def _pick(self, prefix: str) -> Part:
        return self._chance.choice([part for name, part in self._cluster.parts.items() if name.startswith(prefix)])

    def _wait(self, seconds: tuple[float, float]) -> None:
        time.sleep(self._chance.uniform(*seconds))

    def _kill_and_start(self, part: Part) -> None:
        part.kill()
        self._wait(DEAD_SECONDS)
        part.start()

    def _kill_child(self) -> None:
        kill(self._chance.choice(self._pick("worker").children()))

    def _restart_broker(self) -> None:
        self._cluster.kill_broker()
        self._wait(DEAD_SECONDS)
        self._cluster.broker.start()

    def _stop_database(self) -> None:
        self._cluster.database.stop()
        self._wait(DATABASE_AWAY_SECONDS)
        self._cluster.database.start()


# From the fault until everything that had been called for before it was done.
_RECOVERY = """
SELECT coalesce(extract(epoch FROM max(finished_at) - :at)::float8, 0) FROM task
WHERE created_at <= :at AND finished_at > :at
"""

_FIGURES = """
SELECT count(*) FILTER (WHERE name = 'detect_anomalies_task' AND state = 'SUCCESS') AS analysed,
    count(*) AS tasks,
    count(*) FILTER (WHERE history <> '[]') AS run_again,
    coalesce(max(extract(epoch FROM finished_at - created_at)), 0)::float8 AS slowest
FROM task
"""


def _longest_recoveries(connection: Connection, faults: list[Fault]) -> dict[str, float]:
    longest: dict[str, float] = {}
    for fault in faults:
        seconds = connection.scalar(text(_RECOVERY), {"at": fault.at}) or 0.0
        longest[fault.kind] = max(seconds, longest.get(fault.kind, 0.0))
    return longest


def _show_faults(console: Console, cluster: Cluster, faults: list[Fault]) -> None:
    table = Table("killed", "times", "longest until all from before was done, s", title="Faults")
    with cluster.connect() as connection:
        longest = _longest_recoveries(connection, faults)
    for kind, times in sorted(Counter(fault.kind for fault in faults).items()):
        table.add_row(kind, str(times), f"{longest[kind]:.1f}")
    console.print(table)


def _show_figures(console: Console, cluster: Cluster, ledger: Ledger, drained_in: float) -> None:
    with cluster.connect() as connection:
        figures = connection.execute(text(_FIGURES)).one()
        raised = connection.scalar(text("SELECT count(*) FROM alert"))
    refused = ", ".join(f"{count:,} times {status or 'no answer'}" for status, count in ledger.refused.most_common())
    table = Table("", "", title="Figures", show_header=False)
    table.add_row("runs accepted", f"{len(ledger.accepted):,} ({ledger.outliers:,} outliers)")
    table.add_row("requests refused (an end is sent again)", refused or "none")
    table.add_row("runs given up by the client", f"{ledger.abandoned:,}")
    table.add_row("runs analysed", f"{figures.analysed:,}")
    table.add_row("tasks", f"{figures.tasks:,}, of which tried more than once {figures.run_again:,}")
    table.add_row("slowest task, from called for to done", f"{figures.slowest:.1f} s")
    table.add_row("alerts raised", f"{raised:,}")
    for name, sink in cluster.sinks.items():
        table.add_row(f"messages that the channel {name} took, refused", f"{len(sink.texts):,}, {sink.refused:,}")
    table.add_row("alerts received more than once", f"{len(find_repeated_alerts(cluster)):,}")
    table.add_row("drained after the load's end in", f"{drained_in:.1f} s")
    console.print(table)


def _start(cluster: Cluster) -> Workload:
    for number in (1, 2):
        cluster.add_api(f"api-{number}")
        cluster.add_worker(f"worker-{number}")
    cluster.add_beat()
    cluster.start_all()
    return make_workload(cluster.engine, "soak", judged=JUDGED_PIPELINES, plain=PLAIN_PIPELINES)


def _soak(console: Console, cluster: Cluster, *, seconds: float, per_second: float, seed: int) -> list[str]:
    """Run it; what does not hold afterwards."""
    workload = _start(cluster)
    urls = list(cluster.urls.values())
    load = Load(urls, workload, per_second=per_second, threads=THREADS, failing_share=FAILING_SHARE, seed=seed)
    chaos = Chaos(cluster, console, seed)
    load.start()
    try:
        chaos.run(seconds)
    finally:
        load.stop()
    drained_in = _drain(cluster)
    _show_faults(console, cluster, chaos.faults)
    _show_figures(console, cluster, load.ledger, drained_in)
    found = [f"{name} ended by itself" for name in chaos.died]
    found += [f"received more than once: {message}" for message in find_repeated_alerts(cluster)]
    return [*found, *find_violations(cluster, load.ledger.accepted)]


def _drain(cluster: Cluster) -> float:
    """Wait until all is done and told, or for so long that it will not be; the seconds until nothing waited or ran."""
    began = time.monotonic()
    drained_in = float(DRAIN_SECONDS)
    with suppress(AssertionError):  # What did not end is among the violations.
        wait_until_at_rest(cluster, DRAIN_SECONDS)
        drained_in = time.monotonic() - began
        wait_until_at_rest(cluster, DRAIN_SECONDS, settled=True)
    return drained_in


def main() -> None:
    """Run it, print what happened, and end with status 1 when something was lost or done twice."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="how long the load lasts (default 600)")
    parser.add_argument("--cycles", type=int, default=100, help="cycles of start and end per second (default 100)")
    parser.add_argument("--seed", type=int, default=1, help="another seed, other faults (default 1)")
    arguments = parser.parse_args()
    # The cluster ends with the block that started it, which a plain SIGTERM would skip.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    console = Console(width=110)
    with start_cluster(OFTEN) as cluster, three_channels(cluster):
        violations = _soak(
            console, cluster, seconds=arguments.seconds, per_second=arguments.cycles, seed=arguments.seed
        )
    for violation in violations:
        console.print(f"Violated: {violation}")
    console.print("Nothing was lost, and no run was analysed twice." if not violations else "See above.")
    sys.exit(bool(violations))


if __name__ == "__main__":
    main()
