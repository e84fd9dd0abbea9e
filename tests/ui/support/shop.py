"""Pipelines of a shop that report over the HTTP API."""

from datetime import datetime
from typing import Any

import httpx


class Shop:
    """Calls to one Watcher. A refused call fails the test."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def pipeline(self, name: str, kind: str = "shop extraction", tags: tuple[str, ...] = (), **fields: Any) -> int:
        """A pipeline; its id."""
        metadata = {"owner": "shop data", "tags": list(tags)}
        body = {"name": name, "pipeline_type_name": kind, "pipeline_metadata": metadata, **fields}
        return int(self.post("/pipeline", body).json()["id"])

    def lineage(self, pipeline_id: int, sources: list[str], targets: list[str]) -> None:
        """Report the tables that a pipeline reads and writes."""
        self.post(
            "/address_lineage",
            {
                "pipeline_id": pipeline_id,
                "source_addresses": [_table(name) for name in sources],
                "target_addresses": [_table(name) for name in targets],
            },
        )

    def begin(self, pipeline_id: int, start: datetime, parent_id: int | None = None, **fields: Any) -> int:
        """A running execution; its id."""
        body = {"pipeline_id": pipeline_id, "start_date": start.isoformat(), "parent_id": parent_id, **fields}
        return int(self.post("/start_pipeline_execution", body).json()["id"])

    def end(self, execution_id: int, end: datetime, *, success: bool = True, **fields: Any) -> None:
        """The end of a run."""
        body = {"id": execution_id, "end_date": end.isoformat(), "completed_successfully": success, **fields}
        self.post("/end_pipeline_execution", body)

    def run(self, pipeline_id: int, start: datetime, end: datetime, parent_id: int | None = None, **fields: Any) -> int:
        """A whole run; its id."""
        execution_id = self.begin(pipeline_id, start, parent_id)
        self.end(execution_id, end, **fields)
        return execution_id

    def post(self, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        """A call that is accepted."""
        answer = self._client.post(path, json=body or {})
        assert answer.is_success, f"POST {path} answered {answer.status_code}: {answer.text}"
        return answer


def _table(name: str) -> dict[str, str]:
    return {"name": name, "address_type_name": "postgresql", "address_type_group_name": "database"}
