"""Events that tell of few runs in many ways, for tests of what their order may change."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from tests.support.openlineage import Event, dataset, job_type, later, output, parent, run_event

START = datetime(2026, 3, 1, 12, tzinfo=UTC)

# Each job with what it is, and the job whose run of the same id calls it.
_JOBS: dict[str, tuple[dict[str, Any], str | None]] = {
    "dag": (job_type("AIRFLOW", "DAG"), None),
    "dag.task": (job_type("AIRFLOW", "TASK"), "dag"),
    "model": (job_type("DBT", "MODEL"), "dag.task"),
    "model.sql.1": (job_type("DBT", "SQL"), "model"),
    "model.sql.2": (job_type("DBT", "SQL"), "model"),
    "stream": (job_type("FLINK", "JOB", "STREAMING"), None),
}
_KINDS = ("START", "RUNNING", "COMPLETE", "FAIL", "ABORT", "OTHER")
_AIRFLOW = {
    "airflow": {"taskInstance": {"try_number": 1, "log_url": "http://airflow/log"}, "task": {"retries": 1}},
}
_ERROR = {"errorMessage": {"message": "ValueError: no", "programmingLanguage": "python"}}


@st.composite
def one_event(draw: st.DrawFn) -> Event:
    """An event of one of few runs, with some of what such events say."""
    job = draw(st.sampled_from(tuple(_JOBS)))
    kind_of_job, calling = _JOBS[job]
    run = draw(st.sampled_from(("1", "2")))
    run_facets: dict[str, Any] = {}
    if calling and draw(st.booleans()):
        run_facets |= parent(calling, run)
    run_facets |= draw(st.sampled_from(({}, _ERROR, _AIRFLOW)))
    schema: dict[str, Any] = (
        {"schema": {"fields": [{"name": draw(st.sampled_from("xy")), "type": "int"}]}} if draw(st.booleans()) else {}
    )
    columns: dict[str, Any] = (
        {"columnLineage": {"fields": {"x": {"inputFields": [_field("s.a.one")]}}}} if draw(st.booleans()) else {}
    )
    rows = draw(st.sampled_from((None, 1, 2)))
    return run_event(
        draw(st.sampled_from(_KINDS)),
        later(START, 60 * draw(st.integers(0, 6))),
        job=job,
        run=run,
        inputs=[dataset(name, **schema) for name in draw(st.sets(st.sampled_from(("s.a.one", "s.a.two"))))],
        outputs=[output(name, rows=rows, **columns) for name in draw(st.sets(st.sampled_from(("s.b.one", "s.b.two"))))],
        run_facets=run_facets,
        job_facets=kind_of_job if draw(st.booleans()) else {},
    )


def _field(name: str) -> dict[str, str]:
    return {"namespace": "postgres://wh:5432", "name": name, "field": "x"}


def with_types(events: Sequence[Event]) -> list[Event]:
    """These, and for each run one event that says what kind of job it is."""
    runs = sorted({(event["job"]["name"], event["run"]["runId"]) for event in events})
    said = [run_event("OTHER", later(START, 30), job=job, run=run, job_facets=_JOBS[job][0]) for job, run in runs]
    return [*events, *said]


some_events = st.lists(one_event(), min_size=1, max_size=12).map(with_types)
