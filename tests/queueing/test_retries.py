"""What is tried again, how often, and after how long."""

import pytest
from sqlalchemy.exc import OperationalError

from watcher_server import celery_tasks
from watcher_server.alerts.service import DeliveryError
from watcher_server.alerts.tasks import deliver_alert_task


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("detect_anomalies_task", 60),
        ("freshness_check_task", 60),
        ("timeliness_check_task", 60),
        ("address_lineage_closure_rebuild_task", 60),
        ("pipeline_execution_closure_maintain_task", 30),
    ],
)
def test_a_task_is_retried_three_times_with_growing_delays(name: str, seconds: int) -> None:
    task = getattr(celery_tasks, name)

    assert (task.max_retries, task.default_retry_delay, task.retry_backoff) == (3, seconds, seconds)
    assert OperationalError in task.autoretry_for


def test_a_database_that_is_away_is_tried_three_times_more(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def fail(_: object) -> int:
        tries.append(1)
        raise OperationalError("SELECT", None, Exception("the connection is gone"))

    monkeypatch.setattr("watcher_server.freshness.tasks.check_freshness", fail)

    result = celery_tasks.freshness_check_task.apply()

    assert (result.state, len(tries)) == ("FAILURE", 4)


def test_an_alert_that_slack_refused_is_tried_again() -> None:
    assert DeliveryError in deliver_alert_task.autoretry_for
