"""Anomalies of some days."""

from datetime import UTC, datetime, timedelta

from watcher_server.anomalies import events
from watcher_server.kit.text import plural
from watcher_server.mcp_server.answer import Answer, moment, number, quoted
from watcher_server.mcp_server.arguments import Anomalies
from watcher_server.mcp_server.context import Context
from watcher_server.mcp_server.lookup import find_pipeline


async def answer_anomalies(context: Context, wanted: Anomalies) -> Answer:
    """The events of anomalies, the latest first: metric, range, value, and in how many runs in a row."""
    session, until = context.session, datetime.now(UTC) + timedelta(days=1)
    pipeline = await find_pipeline(session, wanted.pipeline) if wanted.pipeline else None
    filter_ = events.EventFilter(
        until - timedelta(days=wanted.days + 1), until, metric=wanted.metric, pipeline=pipeline and pipeline.name
    )
    total = await events.count_events(session, filter_, most=10_000)
    shown = await events.find_events(session, filter_, limit=40, offset=0)
    runs = await events.read_flagged_runs(session, [found.event.id for found in shown], 1)
    lines = [_line(context, found, runs.get(found.event.id, [])) for found in shown]
    answer = Answer()
    title = f"Anomalies of the last {plural(wanted.days, 'day')}{'' if pipeline is None else f' of {pipeline}'}"
    answer.rows(title, lines, total=total, narrow="narrow it by pipeline, metric or days", most=7_000)
    return answer


def _line(context: Context, found: events.FoundEvent, runs: list[events.FlaggedRun]) -> str:
    event = found.event
    accepted = "" if event.accepted_at is None else ", taken for the new normal"
    value = "".join(
        f"; {number(run.value)} in run {run.execution_id}, expected {number(run.lower)} to {number(run.upper)}"
        for run in runs
    )
    return (
        f"{event.metric_field} {event.direction} of pipeline {event.pipeline_id} {quoted(found.pipeline_name, 100)} "
        f"from {moment(event.started_at)} to {moment(event.last_at)}, {plural(event.execution_count, 'run')}{accepted}"
        f"{value}; {context.run(event.last_execution_id)}"
    )
