"""The cleanup on a schedule: in turns, each of which goes on where the last one stopped."""

import pytest
from celery.schedules import crontab
from sqlalchemy import Engine, create_engine, insert, select, text
from sqlalchemy.exc import OperationalError

from tests.support.rows import add_pipeline, ago
from tests.support.tasks import waiting_rows
from watcher_server.celery_tasks import retention_task
from watcher_server.database.engine import sqlalchemy_url
from watcher_server.database.locks import CLEANUP_LOCK
from watcher_server.executions.models import PipelineExecution
from watcher_server.retention import tasks
from watcher_server.retention.schemas import CleanupRequest
from watcher_server.retention.service import clean_up
from watcher_server.settings import SettingsError, load_settings
from watcher_server.tasking.sending.configuration import celery_configuration

EXECUTIONS = "total_pipeline_executions_deleted"


def _add_old_runs(engine: Engine, count: int) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
        runs = [
            {
                "pipeline_id": pipeline,
                "start_date": ago(days=100, minutes=minutes),
                "end_date": ago(days=99),
                "date_recorded": ago(days=100).date(),
                "hour_recorded": 2,
            }
            for minutes in range(count)
        ]
        connection.execute(insert(PipelineExecution), runs)


def _left(engine: Engine) -> int:
    with engine.begin() as connection:
        return len(connection.scalars(select(PipelineExecution.id)).all())


def _take_waiting(engine: Engine) -> list[dict[str, object]]:
    """What waits in the outbox, which is empty then."""
    with engine.begin() as connection:
        rows = [dict(row) for row in waiting_rows(connection)]
        connection.execute(text("DELETE FROM outbox"))
    return rows


def test_a_turn_that_is_over_hands_the_rest_to_the_next(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_LONGEST_TURN_SECONDS", 0)
    _add_old_runs(engine, 500)

    deleted, turns = retention_task(90)[EXECUTIONS], 1
    while waiting := _take_waiting(engine):
        assert [(row["task_name"], row["queue"], row["kwargs"]) for row in waiting] == [
            ("retention_task", "scheduled", {"retention_days": 90})
        ]
        assert turns < 10
        deleted, turns = deleted + retention_task(90).get(EXECUTIONS, 0), turns + 1

    assert (deleted, _left(engine)) == (500, 0)
    assert turns > 2


def test_a_turn_that_finished_calls_for_no_other(engine: Engine) -> None:
    _add_old_runs(engine, 3)
    assert retention_task(90)[EXECUTIONS] == 3
    assert _take_waiting(engine) == []


def test_beside_another_cleanup_it_does_nothing(engine: Engine) -> None:
    _add_old_runs(engine, 3)
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": CLEANUP_LOCK})
        assert retention_task(90) == {"skipped": "Another cleanup is running: try again when it has finished."}
    assert (_left(engine), _take_waiting(engine)) == (3, [])


def test_it_says_how_far_it_is(engine: Engine) -> None:
    _add_old_runs(engine, 500)
    reports: list[tuple[str, int]] = []

    clean_up(engine, CleanupRequest(retention_days=90), report=lambda *report: reports.append(report))

    percents = [percent for _, percent in reports]
    assert percents == sorted(percents)
    assert 0 < percents[0] < percents[-1] <= 100
    assert reports[0][0] == "Deleted 200 executions and 0 other rows"
    assert reports[-1][0] == "Deleted 500 executions and 0 other rows"


def test_a_cleanup_that_dies_keeps_what_it_did_and_bars_nobody(engine: Engine, database_url: str) -> None:
    _add_old_runs(engine, 500)
    dying = create_engine(sqlalchemy_url(database_url), connect_args={"application_name": "dying"})

    def die(_step: str, _percent: int) -> None:
        with engine.begin() as connection:
            sessions = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'dying'"
            connection.execute(text(sessions))

    with pytest.raises(OperationalError):
        clean_up(dying, CleanupRequest(retention_days=90), report=die)
    dying.dispose()

    assert _left(engine) == 300
    assert clean_up(engine, CleanupRequest(retention_days=90)).counts[EXECUTIONS] == 300


def test_without_the_setting_nothing_is_scheduled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHER_RETENTION_DAYS", "")
    assert "retention" not in celery_configuration(load_settings())["beat_schedule"]


def test_with_the_setting_it_is_scheduled_beside_the_checks() -> None:
    settings = load_settings(retention_days=400, retention_schedule="15 4 * * *")
    assert celery_configuration(settings)["beat_schedule"]["retention"] == {
        "task": "retention_task",
        "schedule": crontab.from_string("15 4 * * *"),
        "kwargs": {"retention_days": 400},
        "options": {"queue": "scheduled"},
    }


def test_less_than_the_shortest_retention_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHER_RETENTION_DAYS", "89")
    with pytest.raises(SettingsError, match="WATCHER_RETENTION_DAYS should be greater than or equal to 90"):
        load_settings()
