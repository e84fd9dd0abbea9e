"""Runs that load the past are judged and told, and say nothing of what is usual now."""

import pytest

from tests.anomalies.conftest import Reporting, reporting
from tests.support.rows import add_history, ago, alerts
from watcher_server.anomalies.rules import Method
from watcher_server.incidents.models import Incident

__all__ = ["reporting"]


@pytest.mark.parametrize("method", [Method.ZSCORE, Method.MAD, Method.SEASONAL])
def test_no_baseline_learns_from_a_backfill(pipeline: Reporting, method: Method) -> None:
    with pipeline.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE anomaly_detection_rule SET method = '{method}'")
        add_history(connection, pipeline.pipeline_id, [1000, 1010, 990] * 9, before=ago(days=1))
    for _ in range(40):
        pipeline.add(total_rows=365_000, backfill=True)

    assert not pipeline.flagged(pipeline.run(1000))
    assert pipeline.flagged(pipeline.run(365_000))


def test_a_backfill_out_of_range_is_told_once_and_its_pipeline_is_not_anomalous(pipeline: Reporting) -> None:
    runs = [pipeline.run(365_000, backfill=True) for _ in range(4)]

    assert all(map(pipeline.flagged, runs))
    assert pipeline.rows(Incident) == []
    with pipeline.engine.connect() as connection:
        (told,) = alerts(connection)
    assert told["message"].endswith(f"Execution ID {runs[0]} flagged (backfill)")


def test_several_in_a_row_are_no_new_normal(pipeline: Reporting) -> None:
    for _ in range(4):
        pipeline.run(365_000, backfill=True)

    (event,) = pipeline.events()
    assert (event["execution_count"], event["accepted_at"]) == (4, None)
    assert pipeline.rule()["normal_from"] is None


def test_a_usual_backfill_ends_neither_the_incident_nor_the_event(pipeline: Reporting) -> None:
    pipeline.run(2000)
    pipeline.run(1000, backfill=True)
    assert [incident["state"] for incident in pipeline.rows(Incident)] == ["open"]

    pipeline.run(2000)
    assert [event["execution_count"] for event in pipeline.events()] == [2]
