"""What the page of incidents shows: each with what it touches and what it explains, and how many there are."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from watcher_server.incidents.grouping import Live, count_live, read_effects, read_last_resolved
from watcher_server.incidents.reading import IncidentFilter, ListedIncident, WantedState, list_incidents, read_incidents
from watcher_server.kit.listing import Page
from watcher_server.lineage.impact import count_downstream
from watcher_server.web.incidents.query import IncidentsView
from watcher_server.web.paging import PAGE_SIZE

# Of what an incident explains; its own page has them all.
EFFECTS_SHOWN = 10


@dataclass(frozen=True, slots=True)
class ShownIncident:
    """An incident with the first live ones that it explains, and how many addresses lie downstream of its pipeline."""

    incident: ListedIncident
    effects: Sequence[ListedIncident]
    downstream: int


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of incidents, and whether another follows.

    ``missed`` are those that somebody else had changed first, ``unfit`` those with which a change did not go;
    ``resolved`` the last ones resolved, and ``last_resolved`` is when the last one was.
    """

    shown: Sequence[ShownIncident]
    more: bool
    live: Live
    missed: Sequence[ListedIncident]
    unfit: Sequence[ListedIncident]
    resolved: Sequence[ListedIncident]
    last_resolved: datetime | None


def read_listing(connection: Connection, view: IncidentsView) -> Listing:
    """One page of the incidents that the view asks for."""
    page = Page(limit=PAGE_SIZE + 1, offset=(view.page - 1) * PAGE_SIZE)
    found = list_incidents(connection, view.filter(), page)
    # Below what is open stand the last that were resolved.
    last = Page(limit=5)
    with_resolved = view.is_grouped and view.page == 1
    incidents = found[:PAGE_SIZE]
    roots = [incident.id for incident in incidents if incident.effects and view.is_grouped]
    effects = read_effects(connection, roots, most=EFFECTS_SHOWN)
    pipelines = {incident.pipeline_id for incident in incidents if incident.pipeline_id and not incident.resolved_at}
    downstream = count_downstream(connection, sorted(pipelines)) if pipelines else {}
    return Listing(
        shown=[
            ShownIncident(incident, effects.get(incident.id, ()), downstream.get(incident.pipeline_id or 0, 0))
            for incident in incidents
        ],
        more=len(found) > PAGE_SIZE,
        live=count_live(connection),
        missed=read_incidents(connection, view.missed),
        unfit=read_incidents(connection, view.unfit),
        resolved=list_incidents(connection, IncidentFilter(state=WantedState.RESOLVED), last) if with_resolved else (),
        last_resolved=None if found else read_last_resolved(connection),
    )
