"""What a tool works with."""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession


@dataclass(frozen=True, slots=True)
class Context:
    """One call of a tool: its transaction, who calls, and the public address of Watcher, if that is known."""

    session: AsyncSession
    actor: str
    public_url: str | None

    def link(self, path: str) -> str:
        """The address of a page; its path alone where the public address is not set."""
        return f"{(self.public_url or '').rstrip('/')}{path}"

    def pipeline(self, pipeline_id: int) -> str:
        """The page of a pipeline."""
        return self.link(f"/ui/pipelines/{pipeline_id}")

    def run(self, execution_id: int) -> str:
        """The page of a run."""
        return self.link(f"/ui/executions/{execution_id}")

    def incident(self, incident_id: int) -> str:
        """The page of an incident."""
        return self.link(f"/ui/incidents/{incident_id}")

    def address(self, address_id: int) -> str:
        """The lineage around an address."""
        return self.link(f"/lineage-graph?source_address_id={address_id}")
