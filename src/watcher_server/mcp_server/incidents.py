"""Incidents: the list of them, and one explained by its cause, its evidence, its effects and what happened."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from sqlalchemy import Connection

from watcher_server.database.asking import ask
from watcher_server.incidents import reading
from watcher_server.incidents.detail import IncidentDetail, find_incident, read_incident
from watcher_server.incidents.kinds import Kind
from watcher_server.incidents.schemas import EvidenceResponse
from watcher_server.kit.durations import duration_text
from watcher_server.kit.listing import Page
from watcher_server.kit.text import plural
from watcher_server.lineage.details import read_details
from watcher_server.mcp_server.answer import Answer, moment, number, quoted
from watcher_server.mcp_server.arguments import ExplainIncident, ListIncidents
from watcher_server.mcp_server.context import Context
from watcher_server.mcp_server.lookup import Thing, find_pipeline, find_things
from watcher_server.pipelines.status import read_conditions

_MOST_WRITERS = 10


async def answer_list(context: Context, wanted: ListIncidents) -> Answer:
    """The incidents, the most urgent first; how many there are of each kind where not all are shown."""
    pipeline = await find_pipeline(context.session, wanted.pipeline) if wanted.pipeline else None
    filter_ = reading.IncidentFilter(
        state=wanted.state,
        kind=wanted.kind,
        owner=wanted.owner or None,
        tag=wanted.tag or None,
        pipeline_id=pipeline and pipeline.id,
        q=wanted.text or None,
    )
    total = await ask(context.session, reading.count_incidents, filter_)
    shown = await ask(context.session, reading.list_incidents, filter_, Page(limit=40))
    answer = Answer()
    if total > len(shown) and wanted.kind is None:
        answer.say(f"By kind: {await ask(context.session, _count_kinds, filter_)}")
    lines = [_line(context, incident) for incident in shown]
    narrow = "narrow it by kind, owner, tag, pipeline or text"
    answer.rows(f"Incidents that are {wanted.state}", lines, total=total, narrow=narrow, most=7_000)
    return answer


def _count_kinds(connection: Connection, wanted: reading.IncidentFilter) -> str:
    counts = {kind: reading.count_incidents(connection, replace(wanted, kind=kind)) for kind in Kind}
    return ", ".join(f"{kind} {count:,}" for kind, count in counts.items() if count)


def _line(context: Context, incident: reading.ListedIncident) -> str:
    parts = [f"{head(incident)} since {moment(incident.since)}: {quoted(incident.detail, 120)}"]
    if incident.root_id is not None:
        parts.append(f"explained by #{incident.root_id} {quoted(incident.root_name, 60)} {incident.root_kind}")
    if incident.effects:
        parts.append(f"explains {incident.effects:,} open")
    if incident.owner is not None:
        parts.append(f"owner {quoted(incident.owner, 60)}")
    return "; ".join([*parts, context.incident(incident.id)])


def head(incident: reading.ListedIncident) -> str:
    """An incident in a few words."""
    what = "subject" if incident.pipeline_id is None else f"pipeline {incident.pipeline_id}"
    return f"#{incident.id} {incident.state} {incident.level} {incident.kind}: {what} {quoted(incident.name)}"


async def answer_explain(context: Context, wanted: ExplainIncident) -> Answer:
    """One incident, explained; the worst of those that are about what was named."""
    about = wanted.about.removeprefix("incident ").removeprefix("#")
    if about.isascii() and about.isdigit():
        return await _explain(context, await ask(context.session, find_incident, min(int(about), 2**63 - 1)), ())
    things = await find_things(context.session, wanted.about)
    all_writers = [writer for thing in things for writer in await _writers(context, thing)]
    writers = [*dict.fromkeys(all_writers)][:_MOST_WRITERS]
    found: list[reading.ListedIncident] = []
    for pipeline in writers:
        of_pipeline = reading.IncidentFilter(state=reading.WantedState.LIVE, pipeline_id=pipeline.id)
        found += await ask(context.session, reading.list_incidents, of_pipeline, Page(limit=10))
    if not found:
        return await _nothing_wrong(context, things, writers)
    worst = min(found, key=lambda incident: (incident.state != "open", [*Kind].index(Kind(incident.kind)), incident.id))
    return await _explain(context, worst, [incident for incident in found if incident.id != worst.id])


async def _writers(context: Context, thing: Thing) -> Sequence[Thing]:
    """The pipeline itself; of an address the first of those that write it, the worst before the others."""
    if thing.kind == "pipeline":
        return [thing]
    details = await read_details(context.session, thing.id)
    return [Thing("pipeline", writer.id, writer.name) for writer in details.writers[:_MOST_WRITERS]]


async def _nothing_wrong(context: Context, things: Sequence[Thing], writers: Sequence[Thing]) -> Answer:
    answer = Answer(f"No incident is open about {', '.join(map(str, things))}.")
    conditions = await read_conditions(context.session, [writer.id for writer in writers])
    for writer in (each for each in writers if each.id in conditions):
        answer.say(f"{writer} is {conditions[writer.id].status}: {context.pipeline(writer.id)}")
    if not writers:
        answer.say("No pipeline is known to write it.")
    answer.say("What feeds it, and whether that is well: the tool `upstream_of`.")
    return answer


async def _explain(
    context: Context, incident: reading.ListedIncident, others: Sequence[reading.ListedIncident]
) -> Answer:
    own = await ask(context.session, read_incident, incident.id)
    root = None if incident.root_id is None else await ask(context.session, read_incident, incident.root_id)
    answer = Answer(head(incident), *_facts(context, incident))
    if others:
        answer.rows("Also about it", [_line(context, other) for other in others], narrow="list_incidents", most=900)
    _say_cause(context, answer, own, root)
    _say_evidence(context, answer, "Evidence", own.evidence, most=1_300)
    effects = [f"{head(effect)} since {moment(effect.since)}; {context.incident(effect.id)}" for effect in own.effects]
    total = max(incident.effects, len(effects))
    answer.rows("Open incidents that it explains", effects, total=total, narrow="see its page", most=2_000)
    events = []
    for event in own.timeline:
        said = "" if event.text is None else f", {quoted(event.text, 200)}"
        events.append(f"{moment(event.at)}: {event.change} by {quoted(event.actor, 60)}{said}")
    # The newest are worth more than the oldest.
    answer.rows("Timeline, newest first", events[::-1], narrow="see its page", most=1_300)
    return answer


def _facts(context: Context, incident: reading.ListedIncident) -> Iterator[str]:
    yield f"What was found last: {quoted(incident.detail, 300)}"
    yield f"Began {moment(incident.since)}, found {moment(incident.opened_at)}; {context.incident(incident.id)}"
    if incident.pipeline_id is not None:
        whose = "" if incident.owner is None else f"; owner {quoted(incident.owner, 60)}"
        runbook = "" if incident.runbook_url is None else f"; runbook {quoted(incident.runbook_url, 200)}"
        yield f"Pipeline: {context.pipeline(incident.pipeline_id)}{whose}{runbook}"
    if incident.resolved_at is not None:
        yield f"Resolved {moment(incident.resolved_at)} ({incident.resolution})"
    if incident.acknowledged_by is not None:
        until = "" if incident.acknowledged_until is None else f" until {moment(incident.acknowledged_until)}"
        yield f"Acknowledged by {quoted(incident.acknowledged_by, 60)}{until}"
    if incident.assignee is not None:
        yield f"Assigned to {quoted(incident.assignee, 60)}"
    if incident.snooze is not None:
        until = "" if incident.snoozed_until is None else f", {moment(incident.snoozed_until)}"
        yield f"Snoozed until: {incident.snooze}{until}"
    if incident.flapping:
        yield "It flaps: it was over and came back several times."


def _say_cause(context: Context, answer: Answer, own: IncidentDetail, root: IncidentDetail | None) -> None:
    if root is not None:
        cause = root.incident
        answer.say(f"CAUSE: {head(cause)} since {moment(cause.since)}: {quoted(cause.detail, 300)}")
        answer.say(*(f"  {line}" for line in _facts(context, cause)))
        _say_evidence(context, answer, "Evidence of the cause", root.evidence, most=1_200)
    elif own.perhaps:
        answer.say("CAUSE: not known for certain.")
    else:
        answer.say("CAUSE: it is one itself: no other incident explains it.")
    if own.perhaps:
        perhaps = [_line(context, each) for each in own.perhaps]
        answer.rows("Perhaps because of", perhaps, narrow="see its page", most=700)


def _say_evidence(context: Context, answer: Answer, title: str, evidence: EvidenceResponse, *, most: int) -> None:
    answer.rows(title, [*_evidence(context, evidence)], narrow="see its page", most=most)


def _evidence(context: Context, evidence: EvidenceResponse) -> Iterator[str]:
    if (run := evidence.run) is not None:
        outcome = {True: "succeeded", False: run.outcome or "failed", None: "is going"}[run.completed_successfully]
        took = "" if run.duration_seconds is None else f" after {duration_text(run.duration_seconds)}"
        rows = "" if run.total_rows is None else f", {plural(run.total_rows, 'row')}"
        error = "" if run.error is None else f"; error {quoted(run.error, 300)}"
        yield f"run {run.id} began {moment(run.start_date)}, {outcome}{took}{rows}{error}; {context.run(run.id)}"
    for metric in evidence.metrics:
        yield (
            f"{metric.metric_field} was {number(metric.value)}, expected {number(metric.lower_bound)} to "
            f"{number(metric.upper_bound)} (z-score {metric.z_score:.1f}, from {plural(metric.baseline_runs, 'run')})"
        )
    for stale in evidence.stale:
        yield (
            f"checked {moment(stale.evaluated_at)}: last written or looked {moment(stale.last_dml_timestamp)}, allowed "
            f"{plural(stale.freshness_number, stale.freshness_datepart)}"
        )
    for late in evidence.overdue:
        allowed = "" if late.seconds_threshold is None else f", allowed {duration_text(late.seconds_threshold)}"
        yield f"checked {moment(late.evaluated_at)}: run {late.execution_id} was {late.execution_status}{allowed}"
    for missed in evidence.missed:
        yield (
            f"expected {moment(missed.expected_at)} by the schedule {quoted(missed.schedule, 100)} "
            f"({quoted(missed.schedule_timezone, 50)}), with {plural(missed.schedule_grace_minutes, 'minute')} of grace"
        )
