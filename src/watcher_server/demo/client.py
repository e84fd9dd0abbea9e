"""Watcher's HTTP API, as a user's pipelines call it."""

from collections.abc import Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import httpx

from watcher_server.demo.errors import DemoError
from watcher_server.demo.warehouse import LoadedRows

REQUEST_TIMEOUT_SECONDS = 60.0
# A connection that was refused has sent nothing: trying again is safe even for a start.
CONNECT_RETRIES = 2


class WatcherClient:
    """Calls to one Watcher; safe to share between threads.

    Every method raises ``DemoError`` when Watcher does not answer or refuses.
    """

    def __init__(self, url: str, token: str | None) -> None:
        self.url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            self._http = httpx.Client(
                base_url=self.url,
                headers=headers,
                timeout=REQUEST_TIMEOUT_SECONDS,
                transport=httpx.HTTPTransport(retries=CONNECT_RETRIES),
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise DemoError(_not_an_address(url)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def find_pipelines(self) -> dict[str, dict[str, Any]]:
        """Every pipeline by its name."""
        return {pipeline["name"]: pipeline for pipeline in self._call("GET", "/pipeline").json()}

    def save_pipeline_type(self, **fields: object) -> int:
        """Create or update by name, and return the id."""
        return int(self._call("POST", "/pipeline_type", fields).json()["id"])

    def save_pipeline(self, **fields: object) -> int:
        """Create or update by name, and return the id."""
        return int(self._call("POST", "/pipeline", fields).json()["id"])

    def save_rule(self, **fields: object) -> int:
        """Create or update by pipeline and metric, and return the id."""
        return int(self._call("POST", "/anomaly_detection_rule", fields).json()["id"])

    def save_lineage(self, pipeline_id: int, sources: list[dict[str, Any]], targets: list[dict[str, Any]]) -> None:
        """Say which addresses the pipeline reads and writes."""
        body = {"pipeline_id": pipeline_id, "source_addresses": sources, "target_addresses": targets}
        self._call("POST", "/address_lineage", body)

    def start_execution(
        self, pipeline_id: int, start: datetime, *, next_watermark: str | None, parent_id: int | None = None
    ) -> int:
        """Report the start of a run, and return the execution's id."""
        body: dict[str, Any] = {"pipeline_id": pipeline_id, "start_date": start.isoformat()}
        if next_watermark is not None:
            body["next_watermark"] = next_watermark
        if parent_id is not None:
            body["parent_id"] = parent_id
        return int(self._call("POST", "/start_pipeline_execution", body).json()["id"])

    def end_execution(
        self, execution_id: int, end: datetime, loaded: LoadedRows, metadata: Mapping[str, object]
    ) -> None:
        """Report the end of a run that succeeded."""
        body = {
            "id": execution_id,
            "end_date": end.isoformat(),
            "completed_successfully": True,
            "inserts": loaded.inserts,
            "total_rows": loaded.total_rows,
            "execution_metadata": dict(metadata),
        }
        self._call("POST", "/end_pipeline_execution", body)

    def fail_execution(self, execution_id: int, end: datetime, reason: str) -> None:
        """Report the end of a run that failed."""
        body = {
            "id": execution_id,
            "end_date": end.isoformat(),
            "completed_successfully": False,
            "execution_metadata": {"error": reason},
        }
        self._call("POST", "/end_pipeline_execution", body)

    def read_execution(self, execution_id: int) -> dict[str, Any]:
        """One run with the whole tree of runs below it."""
        execution: dict[str, Any] = self._call("GET", f"/pipeline_execution/{execution_id}").json()
        return execution

    def count_pending_tasks(self) -> int:
        """How many background tasks wait in the queues."""
        return int(self._call("POST", "/celery/monitor-queue").json()["total_pending"])

    def lift_rate_limit(self, task: str, minutes: int) -> bool:
        """Let a task run as fast as it can for so long; False when the token may not do that."""
        response = self._http.request("PUT", f"/rate-limits/{task}", json={"limit": "none", "minutes": minutes})
        return response.is_success

    def restore_rate_limit(self, task: str) -> None:
        """Have the configured limit hold again."""
        self._call("DELETE", f"/rate-limits/{task}")

    def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
    ) -> httpx.Response:
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
        if not response.is_success:
            raise DemoError(_explain_refusal(response, f"{method} {path}"))
        if response.content and not response.headers.get("content-type", "").startswith("application/json"):
            raise DemoError(f"What answers at {self.url} is no Watcher: give Watcher's address with --url.")
        return response


def _not_an_address(url: str) -> str:
    return f"{url} is not an address of a Watcher: give one like http://127.0.0.1:8000."


def _explain_refusal(response: httpx.Response, call: str) -> str:
    if response.status_code in {401, 403}:
        return (
            "This Watcher asks for a token that may write: make one with "
            "`watcher token create demo --scope write` and give it with --token or WATCHER_TOKEN."
        )
    return f"Watcher refused {call} with {response.status_code}: {response.text[:300]}"
