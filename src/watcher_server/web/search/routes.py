"""The search of every page: one field for pipelines, addresses, runs and incidents."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import RedirectResponse, Response
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.addresses.schemas import AddressFound
from watcher_server.addresses.service import search_addresses
from watcher_server.executions.models import PipelineExecution
from watcher_server.http.session import Session
from watcher_server.incidents.models import Incident
from watcher_server.kit.fields import SearchText
from watcher_server.pipelines.searching import FoundPipeline, search_pipelines
from watcher_server.web.pages import page_router, render

router = page_router()

MOST_FOUND = 20


@dataclass(frozen=True, slots=True)
class Found:
    """The pages that a search leads to; ``more_…`` when there are further ones."""

    pipelines: Sequence[FoundPipeline]
    more_pipelines: bool
    addresses: Sequence[AddressFound]
    more_addresses: bool
    execution_id: int | None
    incident_id: int | None

    @property
    def paths(self) -> list[str]:
        """The pages, by their paths."""
        return [
            *(f"/ui/pipelines/{pipeline.id}" for pipeline in self.pipelines),
            *(f"/lineage-graph?source_address_id={address.id}" for address in self.addresses),
            *([f"/ui/executions/{self.execution_id}"] if self.execution_id is not None else []),
            *([f"/ui/incidents/{self.incident_id}"] if self.incident_id is not None else []),
        ]


async def find(session: AsyncSession, wanted: str) -> Found:
    """What fits the text, the best first."""
    pipelines, more_pipelines = await search_pipelines(session, wanted, MOST_FOUND)
    addresses, more_addresses = await search_addresses(session, wanted, MOST_FOUND)
    number = re.fullmatch(r"#?(\d{1,18})", wanted, flags=re.ASCII)
    run = await session.get(PipelineExecution, int(number[1])) if number else None
    incident = await session.get(Incident, int(number[1])) if number else None
    return Found(
        pipelines, more_pipelines, addresses, more_addresses, run.id if run else None, incident.id if incident else None
    )


@router.get("/ui/search")
async def show_search(request: Request, session: Session, q: Annotated[SearchText, Query()] = "") -> Response:
    """The pages that fit; straight to the page where only one does."""
    found = await find(session, q)
    if len(found.paths) == 1:
        return RedirectResponse(found.paths[0], status_code=HTTPStatus.SEE_OTHER)
    return render(request, "search/index.html", wanted=q, found=found, most_found=MOST_FOUND)
