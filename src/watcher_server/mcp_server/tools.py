"""Every tool: its name, what it does in one sentence, what it takes, and whether it changes anything."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from watcher_server.mcp_server import anomalies, arguments, changes, incidents, lineage, pipelines, search
from watcher_server.mcp_server.answer import Answer
from watcher_server.mcp_server.context import Context

Run = Callable[[Context, Any], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool; one that changes something is for tokens that may write."""

    name: str
    does: str
    takes: type[arguments.Arguments]
    run: Run
    changes: bool = False


TOOLS = {
    tool.name: tool
    for tool in (
        Tool(
            "explain_incident",
            "Say why something is wrong (stale, late, missed, failing, lost, overlapping, anomalous): the cause, the "
            "evidence, what it affects, and what happened; start here with the name of what is wrong.",
            arguments.ExplainIncident,
            incidents.answer_explain,
        ),
        Tool(
            "list_incidents",
            "List what is wrong now, the most urgent first, each with what explains it.",
            arguments.ListIncidents,
            incidents.answer_list,
        ),
        Tool(
            "get_pipeline",
            "Show how a pipeline does and why, when it is expected, its latest runs, and what it reads and writes.",
            arguments.GetPipeline,
            pipelines.answer_pipeline,
        ),
        Tool(
            "get_run",
            "Show one run (execution): its numbers beside those of the run before, what was out of range, its error.",
            arguments.GetRun,
            pipelines.answer_run,
        ),
        Tool(
            "upstream_of",
            "List what feeds a table, file or pipeline, those that are not well first.",
            arguments.Around,
            lineage.answer_upstream,
        ),
        Tool(
            "downstream_of",
            "List what a table, file or pipeline feeds, which is what its trouble affects.",
            arguments.Around,
            lineage.answer_downstream,
        ),
        Tool(
            "anomalies",
            "List values of runs that were out of the range learnt from earlier runs, the latest first.",
            arguments.Anomalies,
            anomalies.answer_anomalies,
        ),
        Tool(
            "search",
            "Find pipelines, addresses (tables, files) and open incidents by words of their names.",
            arguments.Search,
            search.answer_search,
        ),
        Tool(
            "acknowledge",
            "Say that somebody has an incident in hand, so that nobody is reminded of it.",
            arguments.Acknowledge,
            changes.acknowledge,
            changes=True,
        ),
        Tool(
            "snooze",
            "Have nobody told of an incident for some hours, until the next run, or until it gets worse.",
            arguments.Snooze,
            changes.snooze,
            changes=True,
        ),
        Tool(
            "mute",
            "Have the freshness or timeliness check of a pipeline tell nobody, or tell again.",
            arguments.Mute,
            changes.mute,
            changes=True,
        ),
        Tool(
            "unflag",
            "Say that values of a run that were flagged were no anomaly.",
            arguments.Unflag,
            changes.unflag,
            changes=True,
        ),
    )
}
