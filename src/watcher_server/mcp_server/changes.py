"""The few things that a tool changes. Each says what is now, and how to take it back."""

from datetime import UTC, datetime, timedelta

from watcher_server.anomalies.corrections import unflag_anomaly
from watcher_server.anomalies.schemas import Unflag as Flags
from watcher_server.database.asking import ask
from watcher_server.executions.reading import read_run
from watcher_server.incidents.changes import change_incident
from watcher_server.incidents.detail import find_incident
from watcher_server.incidents.reading import ListedIncident
from watcher_server.incidents.schemas import IncidentPatch, State
from watcher_server.incidents.schemas import Snooze as Quiet
from watcher_server.mcp_server.answer import Answer, moment, quoted
from watcher_server.mcp_server.arguments import Acknowledge, Mute, Snooze, Unflag
from watcher_server.mcp_server.context import Context
from watcher_server.mcp_server.incidents import head
from watcher_server.mcp_server.lookup import find_pipeline
from watcher_server.pipelines.schemas import PipelinePatch
from watcher_server.pipelines.service import patch_pipeline


def _in_hours(hours: float) -> datetime:
    return datetime.now(UTC) + timedelta(hours=hours)


async def acknowledge(context: Context, wanted: Acknowledge) -> Answer:
    """Say that somebody has the incident in hand."""
    until = None if wanted.hours is None else _in_hours(wanted.hours)
    incident = await _change(context, wanted.incident, state=State.ACKNOWLEDGED, acknowledged_until=until)
    kept = "until somebody takes it back" if until is None else f"until {moment(until)}"
    return _changed(context, incident, f"acknowledged by {quoted(incident.acknowledged_by, 60)}, {kept}")


async def snooze(context: Context, wanted: Snooze) -> Answer:
    """Have nobody told of the incident for a while."""
    if wanted.hours is not None:
        until = _in_hours(wanted.hours)
        incident = await _change(context, wanted.incident, snooze=Quiet.TIME, snoozed_until=until)
        return _changed(context, incident, f"snoozed until {moment(until)}")
    incident = await _change(context, wanted.incident, snooze=Quiet(wanted.until or ""))
    end = "its next run" if wanted.until == "next_run" else "it is worse"
    return _changed(context, incident, f"snoozed until {end}")


async def _change(context: Context, incident_id: int, **changes: object) -> ListedIncident:
    """Change the incident as it is now; who changes it at the same moment is not overwritten, but refused."""
    seen = await ask(context.session, find_incident, incident_id)
    body = IncidentPatch.model_validate({"version": seen.version, **changes})
    return await ask(context.session, change_incident, incident_id, body, context.actor)


def _changed(context: Context, incident: ListedIncident, what: str) -> Answer:
    return Answer(f"Done: {head(incident)} is {what}.", f"To take it back: {context.incident(incident.id)}")


async def mute(context: Context, wanted: Mute) -> Answer:
    """Have one check of a pipeline tell nobody, or tell again."""
    pipeline = await find_pipeline(context.session, wanted.pipeline)
    body = PipelinePatch.model_validate({"id": pipeline.id, f"mute_{wanted.check}_check": wanted.muted})
    await patch_pipeline(context.session, body)
    return Answer(
        f"Done: the {wanted.check} check of {pipeline} is {'muted' if wanted.muted else 'not muted'}.",
        f"To take it back: this tool with muted={str(not wanted.muted).lower()}, or {context.pipeline(pipeline.id)}",
    )


async def unflag(context: Context, wanted: Unflag) -> Answer:
    """Say that values of a run were no anomaly."""
    run, of = await read_run(context.session, wanted.run)
    metrics = [str(metric) for metric in wanted.metrics]
    body = Flags(pipeline_id=run.pipeline_id, pipeline_execution_id=run.id, metric_field=metrics)
    await unflag_anomaly(context.session, body)
    return Answer(
        f"Done: {', '.join(sorted({*metrics}))} of run {run.id} of {quoted(of.pipeline_name)} is no anomaly.",
        f"It counts in later baselines, and is not judged again: {context.run(run.id)}",
    )
