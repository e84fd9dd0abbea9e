"""Keeping what runs in the middle of its statement for as long as a test likes."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, text

from tests.support.cluster import Cluster, Part
from tests.support.live import wait_until
from tests.support.workload import Client, Workload

_WAITING = "SELECT pid FROM pg_stat_activity WHERE :holder = ANY (pg_blocking_pids(pid))"


class Blocker:
    """A transaction that does not end, and that others wait for."""

    def __init__(self, cluster: Cluster, connection: Connection) -> None:
        self._cluster = cluster
        self._connection = connection
        self._pid = connection.scalar(text("SELECT pg_backend_pid()"))

    def execute(self, statement: str, **values: Any) -> None:
        """Take what others will wait for."""
        self._connection.execute(text(statement), values)

    def sessions(self) -> list[int]:
        """The sessions of the database that wait for it."""
        with self._cluster.connect() as connection:
            return list(connection.scalars(text(_WAITING), {"holder": self._pid}))

    def cut_sessions(self) -> None:
        """End these sessions, as a network that fails does."""
        with self._cluster.connect() as connection:
            for pid in self.sessions():
                connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})

    def release(self) -> None:
        """Let the others go on."""
        self._connection.rollback()


@contextmanager
def blocking(cluster: Cluster) -> Iterator[Blocker]:
    """A blocker that lets go when the block ends, at the latest."""
    with cluster.engine.connect() as connection:
        yield Blocker(cluster, connection)


# The result that the analysis is about to write, in a transaction that does not end: it waits for that at the unique
# key. The report of the run, and the analysis of others, go on.
_HOLD = """
INSERT INTO anomaly_detection_result (rule_id, pipeline_execution_id, metric_field, violation_value, z_score,
    historical_mean, historical_std, z_threshold, lower_bound, upper_bound, execution_count, context)
SELECT id, :execution_id, metric_field, 0, 0, 0, 0, 1, 0, 0, 0, '{}' FROM anomaly_detection_rule
WHERE pipeline_id = :pipeline_id ORDER BY id LIMIT 1
"""

_TASK = """
SELECT task.*, worker.pid AS worker_pid FROM task LEFT JOIN worker ON worker.id = task.worker_id
WHERE pipeline_execution_id = :execution_id AND task.name = 'detect_anomalies_task'
"""


@dataclass
class HeldAnalysis:
    """The analysis of one run, kept from writing its result; what asks about it sees what anybody sees."""

    cluster: Cluster
    execution_id: int
    blocker: Blocker

    def task(self) -> Row[Any] | None:
        """The task that analyses the run; None before it was published."""
        with self.cluster.connect() as connection:
            return connection.execute(text(_TASK), {"execution_id": self.execution_id}).one_or_none()

    def state(self) -> str | None:
        """The state of that task."""
        task = self.task()
        return task.state if task is not None else None

    def began_at(self) -> datetime | None:
        """When the try that is under way began (UTC); None while there is none."""
        task = self.task()
        return task.started_at if task is not None and task.state == "PROGRESS" else None

    def deaths(self) -> int:
        """How often the task lost the process that ran it."""
        task = self.task()
        return sum(entry["exc_type"] == "WorkerLostError" for entry in task.history) if task is not None else 0

    def worker(self) -> Part | None:
        """The worker that runs it; None while none does."""
        task = self.task()
        if task is None or task.state != "PROGRESS":
            return None
        parts = self.cluster.parts.values()
        return next((part for part in parts if part.runs and part.process.pid == task.worker_pid), None)

    def running(self) -> Part:
        """The worker that runs it, once its statement is under way."""
        wait_until(lambda: bool(self.blocker.sessions()) and self.worker() is not None, "the analysis being under way")
        worker = self.worker()
        assert worker is not None, "the analysis ended though it is held"
        return worker


@contextmanager
def held_analysis(cluster: Cluster, workload: Workload, pipeline: int = 0) -> Iterator[HeldAnalysis]:
    """A run that was reported, an outlier, with its analysis held until the block ends, or it is released."""
    client = Client(list(cluster.urls.values()))
    pipeline_id = workload.pipelines[pipeline]
    execution_id = int(json.loads(client.post("/start_pipeline_execution", workload.start_body(pipeline_id)))["id"])
    with blocking(cluster) as blocker:
        blocker.execute(_HOLD, execution_id=execution_id, pipeline_id=pipeline_id)
        client.post("/end_pipeline_execution", workload.end_body(execution_id, outlier=True))
        yield HeldAnalysis(cluster, execution_id, blocker)
