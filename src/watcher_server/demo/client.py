"""Watcher's HTTP API, as a user's pipelines call it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self

import httpx

from watcher_server.demo.errors import DemoError


class WatcherClient:
    """Calls to one Watcher; threads may share it.

    Every method raises ``DemoError`` if Watcher does not answer, or refuses.
    """

    def __init__(self, url: str, token: str | None) -> None:
        self.url = url.rstrip("/")
        try:
            self._http = httpx.Client(
                base_url=self.url,
                headers={"Authorization": f"Bearer {token}"} if token else {},
                timeout=60,
                # A refused connection has sent nothing, so the start of a run is not reported twice.
                transport=httpx.HTTPTransport(retries=2),
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise DemoError(_not_an_address(url)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._http.close()

    def list_pipelines(self) -> list[dict[str, Any]]:
        """Every pipeline."""
        pipelines: list[dict[str, Any]] = self._call("GET", "/pipeline").json()
        return pipelines

    def list_incidents(self) -> list[dict[str, Any]]:
        """What is wrong and not over, the worst first."""
        incidents: list[dict[str, Any]] = self._call("GET", "/incident?state=live&limit=1000").json()
        return incidents

    def save(self, kind: str, **fields: object) -> int:
        """Create or update a ``pipeline``, ``pipeline_type`` or ``anomaly_detection_rule``, and return its id."""
        return int(self._call("POST", f"/{kind}", fields).json()["id"])

    def save_lineage(self, pipeline_id: int, sources: list[dict[str, Any]], targets: list[dict[str, Any]]) -> None:
        """Report which addresses the pipeline reads and writes."""
        body = {"pipeline_id": pipeline_id, "source_addresses": sources, "target_addresses": targets}
        self._call("POST", "/address_lineage", body)

    def start_execution(
        self, pipeline_id: int, start: datetime, *, next_watermark: str | None, parent_id: int | None = None
    ) -> int:
        """Report the start of a run, and return the execution's id."""
        body = {
            "pipeline_id": pipeline_id,
            "start_date": start.isoformat(),
            "next_watermark": next_watermark,
            "parent_id": parent_id,
        }
        return int(self._call("POST", "/start_pipeline_execution", body).json()["id"])

    def end_execution(
        self, execution_id: int, end: datetime, metadata: Mapping[str, object], *, rows: int | None
    ) -> None:
        """Report the end of a run that loaded ``rows``; None if it failed.

        Each run replaces what an earlier run loaded, so inserted rows and total rows are the same number.
        """
        body = {"id": execution_id, "end_date": end.isoformat(), "execution_metadata": metadata}
        counts = {} if rows is None else {"inserts": rows, "total_rows": rows}
        self._call("POST", "/end_pipeline_execution", {**body, "completed_successfully": rows is not None, **counts})

    def read_execution(self, execution_id: int) -> dict[str, Any]:
        """One run with the whole tree of runs below it."""
        execution: dict[str, Any] = self._call("GET", f"/pipeline_execution/{execution_id}").json()
        return execution

    def count_pending_tasks(self) -> int:
        """The number of background tasks that wait in the queues."""
        return int(self._call("POST", "/celery/monitor-queue").json()["total_pending"])

    def lift_rate_limit(self, task: str, minutes: int) -> bool:
        """Lift the rate limit of a task for some minutes; False if the token may not do that."""
        response = self._http.request("PUT", f"/rate-limits/{task}", json={"limit": "none", "minutes": minutes})
        return response.is_success

    def restore_rate_limit(self, task: str) -> None:
        """Go back to the configured limit."""
        self._call("DELETE", f"/rate-limits/{task}")

    def _call(self, method: str, path: str, body: Mapping[str, object] | None = None) -> httpx.Response:
        try:
            response = self._http.request(method, path, json=body)
        except httpx.UnsupportedProtocol as error:
            raise DemoError(_not_an_address(self.url)) from error
        except httpx.ConnectError as error:
            raise DemoError(
                f"No Watcher answers at {self.url}: start one with `watcher up`, or give its address with --url."
            ) from error
        except httpx.HTTPError as error:
            raise DemoError(
                f"Watcher at {self.url} did not answer {method} {path} ({type(error).__name__}): "
                "see its log, then run `watcher demo --again` to go on."
            ) from error
        if response.status_code in {401, 403}:
            raise DemoError(
                "This Watcher asks for a token that may write: make one with "
                "`watcher token create demo --scope write` and give it with --token or WATCHER_TOKEN."
            )
        if not response.is_success:
            raise DemoError(f"Watcher refused {method} {path} with {response.status_code}: {response.text[:300]}")
        if response.content and not response.headers.get("content-type", "").startswith("application/json"):
            raise DemoError(f"What answers at {self.url} is no Watcher: give Watcher's address with --url.")
        return response


def _not_an_address(url: str) -> str:
    return f"{url} is not an address of a Watcher: give one like http://127.0.0.1:8000."
