"""What a search finds: pipelines and addresses by their names, runs and incidents by their numbers."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.addresses.schemas import AddressFound
from watcher_server.addresses.service import search_addresses
from watcher_server.executions.models import PipelineExecution
from watcher_server.incidents.models import Incident
from watcher_server.pipelines.searching import FoundPipeline, search_pipelines

MOST_FOUND = 20
_NUMBER = re.compile(r"#?(\d{1,18})", flags=re.ASCII)


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
    number = _NUMBER.fullmatch(wanted)
    run = await session.get(PipelineExecution, int(number[1])) if number else None
    incident = await session.get(Incident, int(number[1])) if number else None
    return Found(
        pipelines, more_pipelines, addresses, more_addresses, run.id if run else None, incident.id if incident else None
    )
