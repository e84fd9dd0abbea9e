"""A backfill that fails is told, and its pipeline is not failing for it."""

from sqlalchemy import Engine

from tests.incidents.passing import incidents, sweep, told
from tests.support.rows import add_pipeline, add_run, ago
from watcher_server.incidents.backfills import tell_failed_backfill
from watcher_server.incidents.failing import judge_failure

FAILED = "WARNING A backfill of pipeline 'Orders' (ID: 1) failed - Execution ID 1"


def _tell(engine: Engine, run_id: int) -> bool:
    with engine.begin() as connection:
        return tell_failed_backfill(connection, run_id, alert_max_age_hours=24)


def test_a_failed_backfill_is_told_once_and_is_no_incident(engine: Engine) -> None:
    with engine.begin() as connection:
        error = {"error": "disk full, password=secret"}
        fields = {"completed_successfully": False, "backfill": True, "execution_metadata": error}
        run_id = add_run(connection, add_pipeline(connection, display_name="Orders"), end_date=ago(minutes=1), **fields)

    assert [_tell(engine, run_id), _tell(engine, run_id)] == [True, False]
    with engine.begin() as connection:
        assert judge_failure(connection, 1, alert_max_age_hours=24) is None
    assert told(engine) == [FAILED]
    assert incidents(engine) == []


def test_what_was_reported_late_succeeded_or_is_no_backfill_is_not_told(engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline_id = add_pipeline(connection)
        runs = [
            add_run(connection, pipeline_id, end_date=ago(days=2), completed_successfully=False, backfill=True),
            add_run(connection, pipeline_id, backfill=True),
            add_run(connection, pipeline_id, completed_successfully=False),
        ]

    assert [_tell(engine, run_id) for run_id in runs] == [False, False, False]


def test_a_backfill_that_succeeds_does_not_end_that_its_pipeline_fails(engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline_id = add_pipeline(connection)
        add_run(connection, pipeline_id, end_date=ago(minutes=9), completed_successfully=False)
        judge_failure(connection, pipeline_id, alert_max_age_hours=24)
        add_run(connection, pipeline_id, end_date=ago(minutes=1), backfill=True)

    sweep(engine)

    assert [found["state"] for found in incidents(engine)] == ["open"]
