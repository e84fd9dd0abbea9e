"""How ``watcher incidents`` looks."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from watcher_server.cli.terminal import minute, plain_table
from watcher_server.incidents.detail import IncidentDetail
from watcher_server.incidents.reading import ListedIncident
from watcher_server.incidents.schemas import DeliveryResponse, EventResponse
from watcher_server.kit.durations import duration_text
from watcher_server.kit.text import escape_controls

_STYLES: Mapping[str, str] = {
    "CRITICAL": "bold red",
    "ERROR": "red",
    "WARNING": "yellow",
    "open": "red",
    "acknowledged": "yellow",
    "resolved": "green",
}
_LONGEST_LINE = 90


def render_list(incidents: Sequence[ListedIncident], width: int) -> RenderableType:
    """Incidents as a table for a terminal of ``width`` columns."""
    wide = width >= 150  # noqa: PLR2004 - a table of one line per incident is about as wide
    more = ("Assigned", "") if wide else ()
    table = plain_table("ID", "Level", "State", "Kind", "Of", "Since (UTC)", "Owner", *more)
    for column in table.columns[:4]:
        column.no_wrap = True
    table.columns[5].no_wrap = True
    for incident in incidents:
        name, detail = _one_line(incident.name), _one_line(_brief(incident))
        facts = (
            str(incident.id),
            _styled(incident.level),
            _styled(incident.state),
            incident.kind,
            # In a narrower terminal an incident takes several lines of the table.
            name if wide or not detail.plain else Group(name, Text(detail.plain, style="dim")),
            minute(incident.since),
            _one_line(incident.owner or ""),
        )
        has_it = _one_line(incident.assignee or incident.acknowledged_by or "")
        table.add_row(*facts, *([has_it, detail] if wide else []))
    return table


def _brief(incident: ListedIncident) -> str:
    if incident.root_id is not None:
        return f"because of #{incident.root_id}: {incident.detail}"
    return incident.detail + (f" ({incident.effects} more because of it)" if incident.effects else "")


def render_incident(detail: IncidentDetail) -> RenderableType:
    """Everything about an incident: the facts, what it has to do with, what happened, and who was told."""
    facts = Table.grid(padding=(0, 2, 0, 0))
    for label, value in _facts(detail):
        if value:
            facts.add_row(label, value if isinstance(value, Text) else Text(escape_controls(value)))
    parts: list[RenderableType] = [facts]
    for title, others in (("Because of it", detail.effects), ("Perhaps because of", detail.perhaps)):
        if others:
            parts += ["", _related(title, others)]
    parts += ["", _timeline(detail.timeline)]
    if detail.deliveries:
        parts += ["", _deliveries(detail.deliveries)]
    return Group(*parts)


def _facts(detail: IncidentDetail) -> Iterator[tuple[str, str | Text | None]]:
    incident, run = detail.incident, detail.evidence.run
    about = f" (pipeline {incident.pipeline_id})" if incident.pipeline_id else ""
    lasted = (incident.resolved_at or datetime.now(UTC)) - incident.since
    yield "Incident", f"{incident.id}, version {incident.version}"
    yield "Of", f"{incident.name}{about}"
    yield "Kind", incident.kind
    yield "State", _styled(incident.state)
    yield "Level", _styled(incident.level)
    yield "Detail", incident.detail
    yield "Since", f"{minute(incident.since)} UTC, for {duration_text(lasted.total_seconds())}"
    yield "Resolved", _resolved(incident)
    yield (
        "Because of",
        f"#{incident.root_id} ({incident.root_name}, {incident.root_kind})" if incident.root_id else None,
    )
    yield "Owner", incident.owner
    yield "Criticality", incident.criticality
    yield "Runbook", incident.runbook_url
    yield "Assigned", incident.assignee
    yield "Acknowledged", _acknowledged(incident)
    yield "Snoozed", _snoozed(incident)
    yield "Flapping", "it opens again and again, and is told once an hour at most" if incident.flapping else None
    yield "Quiet", "somebody resolved it while it held" if incident.quiet else None
    yield "Execution", str(incident.execution_id) if incident.execution_id else None
    yield "Error", run.error if run else None
    for metric in detail.evidence.metrics:
        expected = f"{metric.lower_bound:,.2f} to {metric.upper_bound:,.2f}"
        yield "Out of range", f"{metric.metric_field} {metric.value:,.2f} (expected {expected})"
    yield "Task", str(incident.task_id) if incident.task_id else None


def _resolved(incident: ListedIncident) -> str | None:
    if incident.resolved_at is None:
        return None
    how = {"auto": "by itself", "hand": "by hand", "paused": "paused or muted"}[incident.resolution or "auto"]
    return f"{minute(incident.resolved_at)} UTC, {how}"


def _acknowledged(incident: ListedIncident) -> str | None:
    if incident.acknowledged_by is None:
        return None
    until = f", until {minute(incident.acknowledged_until)} UTC" if incident.acknowledged_until else ""
    return f"by {incident.acknowledged_by}{until}"


def _snoozed(incident: ListedIncident) -> str | None:
    if incident.snoozed_until is not None:
        return f"until {minute(incident.snoozed_until)} UTC"
    return {"next_run": "until the next run", "worse": "until it gets worse"}.get(incident.snooze or "")


def _related(title: str, incidents: Sequence[ListedIncident]) -> Table:
    table = plain_table(title, "", "", "")
    for incident in incidents:
        state, since = _styled(incident.state), f"since {minute(incident.since)} UTC"
        table.add_row(f"#{incident.id}", Text(f"{incident.kind}: ").append_text(_one_line(incident.name)), state, since)
    return table


def _timeline(events: Sequence[EventResponse]) -> Table:
    table = plain_table("Happened (UTC)", "", "By", "")
    for event in events:
        said = Text(escape_controls(event.text or "", keep_layout=True))
        table.add_row(minute(event.at), event.change, _one_line(event.actor), said)
    return table


def _deliveries(deliveries: Sequence[DeliveryResponse]) -> Table:
    table = plain_table("Told (UTC)", "Channel", "State", "What", "")
    for delivery in deliveries:
        what = f"{delivery.level} {delivery.title}" + (f", {delivery.change}" if delivery.change else "")
        table.add_row(
            minute(delivery.sent_at or delivery.created_at),
            _one_line(delivery.channel),
            f"{delivery.state}{' (perhaps twice)' if delivery.perhaps_sent else ''}",
            _one_line(what),
            _one_line("" if delivery.state in {"sent", "merged"} else delivery.last_error or ""),
        )
    return table


def _styled(word: str) -> Text:
    return Text(escape_controls(word), style=_STYLES.get(word, ""))


def _one_line(text: str) -> Text:
    # Text, because a plain string is read as markup, and a name may look like it.
    line = escape_controls(" ".join(text.split()))
    return Text(line if len(line) <= _LONGEST_LINE else line[: _LONGEST_LINE - 1] + "…")
