"""One pipeline, and one run."""

import json
from collections.abc import Iterator

from watcher_server.anomalies.service import list_findings
from watcher_server.database.asking import ask
from watcher_server.executions.models import PipelineExecution
from watcher_server.executions.reading import read_beside, read_callers, read_output, read_run, read_tree
from watcher_server.executions.recent import read_latest_runs
from watcher_server.incidents.reading import IncidentFilter, WantedState, list_incidents
from watcher_server.kit.durations import duration_text
from watcher_server.kit.listing import Page
from watcher_server.kit.text import plural
from watcher_server.lineage.impact import downstream_text
from watcher_server.lineage.places import Places, read_places, read_reach
from watcher_server.mcp_server.answer import Answer, moment, number, quoted
from watcher_server.mcp_server.arguments import GetPipeline, GetRun
from watcher_server.mcp_server.context import Context
from watcher_server.mcp_server.incidents import head
from watcher_server.mcp_server.lookup import find_pipeline
from watcher_server.pipelines.findings import Finding, read_findings
from watcher_server.pipelines.status import Status, read_conditions
from watcher_server.pipelines.summaries import Summary, Threshold, read_summaries

_RUNS = 10


async def answer_pipeline(context: Context, wanted: GetPipeline) -> Answer:
    """How a pipeline does and why, its latest runs, its incidents, what it reads and writes."""
    session = context.session
    pipeline = await find_pipeline(session, wanted.pipeline)
    (summary,) = await read_summaries(session, [pipeline.id])
    condition = (await read_conditions(session, [pipeline.id]))[pipeline.id]
    findings = (await read_findings(session, [pipeline.id]))[pipeline.id]
    answer = Answer(
        f"{pipeline} of the type {quoted(summary.type_name)} is {condition.status}; {context.pipeline(pipeline.id)}"
    )
    if condition.remark is not None:
        answer.say(f"But {condition.remark}")
    answer.say(*(f"{word}: {_why(context, findings[word])}" for word in condition.words if word in findings))
    answer.say(*_expected(summary))
    of_pipeline = IncidentFilter(state=WantedState.LIVE, pipeline_id=pipeline.id)
    incidents = await ask(session, list_incidents, of_pipeline, Page(limit=20))
    answer.rows(
        "Incidents",
        [f"{head(one)}; {context.incident(one.id)}" for one in incidents],
        narrow="list_incidents",
        most=1_500,
    )
    runs = (await read_latest_runs(session, [pipeline.id], _RUNS)).get(pipeline.id, [])
    answer.rows(
        f"Latest runs, at most {_RUNS}",
        [
            f"run {run.id} began {moment(run.start_date)}: {run.outcome}, {duration_text(run.seconds)}, "
            f"rows {number(run.total_rows)}"
            for run in runs
        ],
        narrow="see its page",
        most=1_500,
    )
    sources, targets = await read_places(session, pipeline.id)
    _say_places(answer, "Reads", sources)
    _say_places(answer, "Writes", targets)
    reach = await read_reach(session, pipeline.id)
    answer.say(f"Depends on what it writes: {downstream_text(reach.downstream) or 'nothing known'} (`downstream_of`)")
    return answer


def _why(context: Context, finding: Finding) -> str:
    parts = ["since an unknown moment" if finding.since is None else f"since {moment(finding.since)}"]
    if finding.count > 1:
        parts.append(f"{plural(finding.count, 'run')} in a row")
    if finding.metrics:
        parts.append(finding.metric_names)
    if finding.error is not None:
        parts.append(f"error {quoted(finding.error, 300)}")
    if finding.execution_id is not None:
        parts.append(f"run {finding.execution_id} {context.run(finding.execution_id)}")
    if finding.word == Status.FAILING:
        parts.append(f"last success {moment(finding.last_success)}")
    return "; ".join(parts)


def _expected(summary: Summary) -> Iterator[str]:
    if summary.schedule is not None:
        yield (
            f"Schedule {quoted(summary.schedule)} in {quoted(summary.schedule_timezone)}, next run expected "
            f"{moment(summary.expected_next_run)}"
        )
    looked = "" if summary.last_looked is None else f", nothing to do at {moment(summary.last_looked)}"
    days = "" if summary.freshness_calendar is None else f", on {summary.freshness_calendar}"
    yield f"Last write {moment(summary.last_write)}{looked}; freshness: {_threshold(summary.freshness)}{days}"
    yield f"Timeliness: {_threshold(summary.timeliness)}"
    if summary.tags:
        yield f"Tags: {', '.join(quoted(tag, 50) for tag in summary.tags[:10])}"


def _threshold(threshold: Threshold) -> str:
    allowed = "no threshold" if threshold.failure is None else f"{threshold.failure} allowed"
    return allowed if threshold.muted_by is None else f"{allowed}, muted by the {threshold.muted_by}"


def _say_places(answer: Answer, title: str, places: Places) -> None:
    lines = [
        f"address {place.id} {quoted(place.name)} ({quoted(place.type_name, 50)}) is {places.statuses[place.id]}"
        for place in places.rows
    ]
    answer.rows(title, lines, total=places.total, narrow="see the page of its lineage", most=1_200)


async def answer_run(context: Context, wanted: GetRun) -> Answer:
    """One run: how it went, its numbers beside those of the run before, what was flagged, and what it said."""
    session = context.session
    run, of = await read_run(session, wanted.run)
    before, _ = await read_beside(session, run)
    answer = Answer(
        f"Run {run.id} of pipeline {run.pipeline_id} {quoted(of.pipeline_name)}: {_outcome(run)}; {context.run(run.id)}"
    )
    answer.say(f"Began {moment(run.start_date)}, ended {moment(run.end_date) if run.end_date else 'not yet'}")
    if of.deadline is not None:
        answer.say(f"It may go until {moment(of.deadline)}")
    numbers = [
        f"{name} {number(value)}, in the run before {number(getattr(before, name, None))}"
        for name in ("duration_seconds", "inserts", "updates", "soft_deletes", "total_rows", "throughput")
        if (value := getattr(run, name)) is not None
    ]
    answer.rows("Numbers", numbers, narrow="see its page", most=900)
    flagged = [
        f"{result.metric_field} was {number(result.violation_value)}, expected {number(result.lower_bound)} to "
        f"{number(result.upper_bound)} (z-score {result.z_score:.1f})"
        f"{'; accepted as normal' if event and event.accepted_at else ''}"
        for result, event in await list_findings(session, run.id)
    ]
    answer.rows("Out of range", flagged, narrow="see its page", most=900)
    if run.watermark is not None or run.next_watermark is not None:
        answer.say(f"Watermark {quoted(run.watermark)}, next {quoted(run.next_watermark)}")
    callers = [f"run {caller.id} {quoted(caller.name)}" for caller in await read_callers(session, run)]
    if callers:
        answer.say(f"Started by: {' > '.join(callers)}")
    below = [node for node, depth in (await read_tree(session, run.id)).order if depth]
    failed = [
        f"run {node.id} {quoted(node.name)}"
        for node in below
        if node.completed_successfully is False and node.outcome not in {"aborted", "retried"}
    ]
    answer.say(f"Started {plural(len(below), 'run')} below it, {len(failed):,} of them failed.")
    if failed:
        answer.rows("Failed below it", failed, narrow="see its page", most=1_000)
    printed = [line for line in (await read_output(session, run.id)).splitlines() if line.strip()]
    if printed:
        # The end says what went wrong; each line is one text, so that none looks like a line of the answer.
        last = [quoted(line, 200) for line in reversed(printed[-30:])]
        answer.rows("Output, the last lines first", last, total=len(printed), narrow="see its page", most=1_500)
    # A failed run says what went wrong under one of these keys of its metadata; they are shown first.
    errors = {"error", "error_message", "exception", "message"}
    reported = sorted((run.execution_metadata or {}).items(), key=lambda item: item[0] not in errors)
    # In one text, because the name of a value may say that it is a secret.
    said = [
        quoted(f"{key[:60]}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}", 360)
        for key, value in reported
    ]
    answer.rows("What it reported besides", said, narrow="see its page", most=2_500)
    return answer


def _outcome(run: PipelineExecution) -> str:
    if run.end_date is None:
        return "running"
    return "succeeded" if run.completed_successfully else run.outcome or "failed"
