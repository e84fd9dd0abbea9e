"""From events to executions: what a run is follows from the set of its events."""

from datetime import UTC, datetime
from itertools import permutations

import pytest
from sqlalchemy import Engine

from tests.openlineage.known import executions, rows, said, write
from tests.support.openlineage import dataset, job_type, later, output, run_event, send

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_a_run_becomes_an_execution(engine: Engine) -> None:
    send(
        engine,
        run_event("START", START, inputs=[dataset("shop.public.orders")]),
        run_event("COMPLETE", later(START, 90), outputs=[output("shop.public.daily", rows=3)]),
    )
    (run,) = executions(engine)
    assert run["pipeline"] == "demo/etl"
    assert (run["start_date"], run["end_date"]) == (START, later(START, 90))
    assert (run["completed_successfully"], run["duration_seconds"], run["total_rows"]) == (True, 90, 3)
    assert run["inserts"] is run["updates"] is run["soft_deletes"] is None


def test_four_events_in_any_order_are_one_execution(engine: Engine) -> None:
    events = [
        run_event("START", START, inputs=[dataset("a.b.c")]),
        run_event("RUNNING", later(START, 5), outputs=[output("a.b.d", rows=1)]),
        run_event("OTHER", later(START, 7), run_facets={"processing_engine": {"version": "3", "name": "spark"}}),
        run_event("COMPLETE", later(START, 9), outputs=[output("a.b.d", rows=4)]),
    ]
    seen = []
    for number, order in enumerate(permutations(events)):
        run_id = f"run {number}"
        mine = [{**event, "run": {**event["run"], "runId": run_id}} for event in order]
        for event in mine:
            send(engine, event)
        send(engine, *mine)
    for row in executions(engine):
        row["execution_metadata"]["openlineage"].pop("run_id")
        seen.append({name: value for name, value in row.items() if name != "id"})
    assert len(seen) == 24
    assert all(row == seen[0] for row in seen)
    assert seen[0]["execution_metadata"]["openlineage"]["events"] == 4


def test_two_jobs_may_share_a_run_id(engine: Engine) -> None:
    for job in ("one", "two"):
        send(engine, run_event("START", START, job=job), run_event("COMPLETE", later(START, 1), job=job))
    assert [run["pipeline"] for run in executions(engine)] == ["demo/one", "demo/two"]


def test_a_run_id_need_not_be_a_uuid(engine: Engine) -> None:
    send(
        engine, run_event("START", START, run="scheduled 1"), run_event("COMPLETE", later(START, 1), run="scheduled 1")
    )
    (run,) = executions(engine)
    assert (said(run)["run_id"], run["completed_successfully"]) == ("scheduled 1", True)


def test_a_start_that_arrives_late_does_not_open_the_run_again(engine: Engine) -> None:
    start = datetime(2026, 2, 28, 23, 59, tzinfo=UTC)
    send(engine, run_event("COMPLETE", later(start, 120)))
    write(engine, "DELETE FROM daily_pipeline_metric_change")
    send(engine, run_event("START", start))
    (run,) = executions(engine)
    assert (run["start_date"], run["end_date"]) == (start, later(start, 120))
    assert (run["completed_successfully"], run["duration_seconds"]) == (True, 120)
    assert (str(run["date_recorded"]), run["hour_recorded"]) == ("2026-02-28", 23)
    noted = rows(engine, "SELECT date_recorded FROM daily_pipeline_metric_change ORDER BY 1")
    # The report of the day that it was counted for is wrong now, as is that of the day that it belongs to.
    assert [str(row["date_recorded"]) for row in noted] == ["2026-02-28", "2026-03-01"]


@pytest.mark.parametrize(
    ("ends", "is_success"),
    [
        ([("FAIL", 5), ("COMPLETE", 9)], True),
        ([("COMPLETE", 5), ("FAIL", 9)], False),
        ([("COMPLETE", 5), ("FAIL", 5)], False),
        ([("COMPLETE", 5), ("ABORT", 5)], False),
        ([("COMPLETE", 9), ("RUNNING", 12), ("START", 15)], True),
    ],
)
@pytest.mark.parametrize("backwards", [False, True])
def test_the_latest_end_counts(engine: Engine, ends: list[tuple[str, int]], is_success: bool, backwards: bool) -> None:
    events = [run_event("START", START), *(run_event(kind, later(START, seconds)) for kind, seconds in ends)]
    for event in reversed(events) if backwards else events:
        send(engine, event)
    (run,) = executions(engine)
    assert run["completed_successfully"] is is_success
    assert run["end_date"] is not None


def test_a_run_that_only_ended_took_nobody_knows_how_long(engine: Engine) -> None:
    send(engine, run_event("COMPLETE", START, outputs=[output("a.b.c", rows=3)]))
    (run,) = executions(engine)
    assert (run["start_date"], run["end_date"], run["duration_seconds"], run["throughput"]) == (
        START,
        START,
        None,
        None,
    )
    assert said(run)["start_known"] is False
    send(engine, run_event("START", START))
    (run,) = executions(engine)
    assert (run["duration_seconds"], said(run)["start_known"]) == (0, True)


def test_airflow_says_when_a_dag_began_whose_start_was_lost(engine: Engine) -> None:
    began = {"airflowDagRun": {"dagRun": {"start_date": START.isoformat(), "run_id": "manual__1"}}}
    send(engine, run_event("COMPLETE", later(START, 60), run_facets=began, job_facets=job_type("AIRFLOW", "DAG")))
    (run,) = executions(engine)
    assert (run["start_date"], run["duration_seconds"], said(run)["dag_run"]) == (START, 60, "manual__1")


def test_what_only_tells_of_a_run_starts_none(engine: Engine) -> None:
    send(engine, run_event("OTHER", START, outputs=[output("a.b.c", rows=3)]))
    assert executions(engine) == []
    send(engine, run_event("START", later(START, 5)))
    (run,) = executions(engine)
    assert (run["start_date"], run["total_rows"]) == (later(START, 5), 3)


def test_rows_are_summed_over_outputs_and_not_over_events(engine: Engine) -> None:
    outputs = [output("a.b.c", rows=3), output("a.b.d", rows=4)]
    send(engine, run_event("START", START, outputs=outputs), run_event("COMPLETE", later(START, 1), outputs=outputs))
    (run,) = executions(engine)
    assert (run["total_rows"], run["inserts"], run["updates"], run["soft_deletes"]) == (7, None, None, None)
    (pipeline,) = rows(engine, "SELECT last_write, watermark FROM pipeline_effective JOIN pipeline USING (id)")
    assert (pipeline["last_write"], pipeline["watermark"]) == (later(START, 1), None)


def test_a_run_that_says_no_number_has_none(engine: Engine) -> None:
    send(engine, run_event("START", START), run_event("COMPLETE", later(START, 1), outputs=[output("a.b.c")]))
    assert executions(engine)[0]["total_rows"] is None


def test_an_aborted_run_says_so(engine: Engine) -> None:
    send(engine, run_event("START", START), run_event("ABORT", later(START, 1)))
    (run,) = executions(engine)
    assert (run["completed_successfully"], run["outcome"]) == (False, "aborted")
    assert rows(engine, "SELECT FROM outbox WHERE task_name = 'judge_failure_task'") == []


def test_a_failed_run_is_judged_once(engine: Engine) -> None:
    send(engine, run_event("START", START))
    for _ in range(2):
        send(engine, run_event("FAIL", later(START, 1)))
    assert len(rows(engine, "SELECT FROM outbox WHERE task_name = 'judge_failure_task'")) == 1


@pytest.mark.parametrize("kind", ["COMPLETE", "FAIL"])
def test_the_end_of_a_lost_run_repairs_it(engine: Engine, kind: str) -> None:
    send(engine, run_event("START", START), run_event("RUNNING", later(START, 9)))
    lose = "UPDATE pipeline_execution SET end_date = heard_at, completed_successfully = false, outcome = 'lost'"
    write(engine, lose)
    # What was said before it fell silent does not bring it back.
    send(engine, run_event("OTHER", later(START, 3)))
    assert executions(engine)[0]["outcome"] == "lost"
    send(engine, run_event(kind, later(START, 60)))
    (run,) = executions(engine)
    assert (run["outcome"], run["completed_successfully"]) == (None, kind == "COMPLETE")
    assert (run["end_date"], run["duration_seconds"]) == (later(START, 60), 60)


def test_a_lost_run_that_is_heard_of_again_goes_on(engine: Engine) -> None:
    send(engine, run_event("START", START))
    write(engine, "UPDATE pipeline_execution SET end_date = heard_at, completed_successfully = false, outcome = 'lost'")
    send(engine, run_event("RUNNING", later(START, 90)))
    (run,) = executions(engine)
    assert (run["outcome"], run["end_date"], run["completed_successfully"]) == (None, None, None)


def test_a_clock_that_is_ahead_changes_no_duration(engine: Engine) -> None:
    now = datetime.now(UTC)
    send(engine, run_event("START", later(now, 3_600)), run_event("COMPLETE", later(now, 3_690)))
    (run,) = executions(engine)
    assert run["duration_seconds"] == 90
    assert run["end_date"] <= datetime.now(UTC)
    assert run["end_date"] + run["end_skew"] == later(now, 3_690)


def test_a_moment_that_no_clock_shows_is_that_of_the_arrival(engine: Engine) -> None:
    send(engine, run_event("START", START), run_event("COMPLETE", datetime(2199, 1, 1, tzinfo=UTC)))
    (run,) = executions(engine)
    assert run["start_date"] == START
    assert run["end_date"] <= datetime.now(UTC)


STREAM = job_type("FLINK", "JOB", "STREAMING")


def test_a_stream_that_starts_again_is_another_execution(engine: Engine) -> None:
    events = [
        run_event("START", START, job_facets=STREAM),
        run_event("RUNNING", later(START, 60), job_facets=STREAM, outputs=[output("a.b.c", rows=5)]),
        run_event("FAIL", later(START, 120), job_facets=STREAM),
        run_event("START", later(START, 300), job_facets=STREAM),
        run_event("RUNNING", later(START, 360), job_facets=STREAM, outputs=[output("a.b.c", rows=2)]),
    ]
    for event in events:
        send(engine, event)
    first, second = executions(engine)
    assert (first["end_date"], first["completed_successfully"]) == (later(START, 120), False)
    assert (second["start_date"], second["end_date"], second["total_rows"]) == (later(START, 300), None, 2)
    assert [said(run)["attempt"] for run in (first, second)] == [1, 2]
    (pipeline,) = rows(engine, "SELECT last_output FROM pipeline")
    assert pipeline["last_output"] == later(START, 360)


def test_the_end_of_an_attempt_may_arrive_after_the_next_began(engine: Engine) -> None:
    send(engine, run_event("START", START, job_facets=STREAM))
    send(engine, run_event("START", later(START, 300), job_facets=STREAM))
    assert len(executions(engine)) == 1
    send(engine, run_event("COMPLETE", later(START, 120), job_facets=STREAM))
    first, second = executions(engine)
    assert (first["end_date"], first["completed_successfully"]) == (later(START, 120), True)
    assert (second["start_date"], second["end_date"]) == (later(START, 300), None)
