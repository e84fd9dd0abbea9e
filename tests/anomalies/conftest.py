"""Judging executions as the task does, in a transaction of its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from tests.support.rows import add_history, add_pipeline, add_rule, add_run, ago, alerts, flags, rows
from watcher_server.anomalies.detection import detect_anomalies
from watcher_server.anomalies.models import AnomalyDetectionResult, AnomalyDetectionRule, AnomalyEvent
from watcher_server.anomalies.recording import Anomaly

JUDGED_END = ago(hours=1)
Judge = Callable[[int, int], list[Anomaly]]


@pytest.fixture
def judge(engine: Engine) -> Judge:
    def run(pipeline_id: int, execution_id: int) -> list[Anomaly]:
        with engine.begin() as connection:
            return detect_anomalies(connection, pipeline_id, execution_id, alert_max_age_hours=24)

    return run


def judged_after(engine: Engine, history: Sequence[float], value: float | None, **rule: Any) -> tuple[int, int]:
    """A pipeline with a rule, a history of total rows, and a run to judge; the ids of the pipeline and the run."""
    with engine.begin() as connection:
        pipeline_id = add_pipeline(connection)
        add_rule(connection, pipeline_id, **rule)
        add_history(connection, pipeline_id, history)
        return pipeline_id, add_run(connection, pipeline_id, total_rows=value, end_date=JUDGED_END)


@dataclass
class Reporting:
    """A pipeline that runs every ten minutes, each run judged when it ends."""

    engine: Engine
    judge: Judge
    pipeline_id: int
    ended_at: datetime

    def add(self, **fields: Any) -> int:
        """The next run, not judged; its id."""
        self.ended_at += timedelta(minutes=10)
        with self.engine.begin() as connection:
            return add_run(connection, self.pipeline_id, **{"end_date": self.ended_at, **fields})

    def run(self, total_rows: float, **fields: Any) -> int:
        """The next run, judged; its id."""
        execution_id = self.add(total_rows=total_rows, **fields)
        self.judge(self.pipeline_id, execution_id)
        return execution_id

    def runs(self, *values: float) -> list[int]:
        return [self.run(value) for value in values]

    def rows(self, model: type[Any]) -> list[dict[str, Any]]:
        with self.engine.connect() as connection:
            return rows(connection, model)

    def events(self) -> list[dict[str, Any]]:
        return self.rows(AnomalyEvent)

    def events_by_run(self) -> dict[int, int]:
        return {result["pipeline_execution_id"]: result["event_id"] for result in self.rows(AnomalyDetectionResult)}

    def levels(self) -> list[str]:
        """The levels of the alerts, in order."""
        with self.engine.connect() as connection:
            return [alert["level"] for alert in alerts(connection)]

    def rule(self) -> dict[str, Any]:
        return self.rows(AnomalyDetectionRule)[0]

    def flagged(self, execution_id: int) -> bool:
        with self.engine.connect() as connection:
            return flags(connection, execution_id).get("total_rows") is True


def reporting(engine: Engine, judge: Judge, since: datetime, **rule: Any) -> Reporting:
    """A pipeline whose first five runs moved 1,000 rows each: from 970 to 1,030 are expected."""
    with engine.begin() as connection:
        pipeline_id = add_pipeline(connection)
        add_rule(connection, pipeline_id, **{"seasonality": "none", "new_normal_after": 3, **rule})
    found = Reporting(engine, judge, pipeline_id, since)
    for _ in range(5):
        found.add(total_rows=1000)
    return found


def add_usual_runs(pipeline: Reporting, **fields: Any) -> None:
    """So many that a few runs that are not judged yet are told from them as outliers."""
    with pipeline.engine.begin() as connection:
        for minutes in range(60):
            ended = pipeline.ended_at - timedelta(days=1, minutes=minutes)
            add_run(connection, pipeline.pipeline_id, end_date=ended, **{"total_rows": 1000, **fields})


@pytest.fixture
def pipeline(engine: Engine, judge: Judge) -> Reporting:
    """Twelve hours ago it began."""
    return reporting(engine, judge, ago(hours=12))
