"""Watcher's HTTP API, as a user's pipelines call it."""

import http.client
import json
import select
import threading
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from watcher_server.demo.errors import DemoError


class WatcherClient:
    """Calls to one Watcher; threads may share it. They raise ``DemoError`` if it does not answer, or refuses."""

    def __init__(self, url: str, token: str | None) -> None:
        self.url = url.rstrip("/")
        try:
            parts = urlsplit(self.url)
            self._place = parts.hostname or "", parts.port
        except ValueError as error:
            raise DemoError(_not_an_address(url)) from error
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise DemoError(_not_an_address(url))
        if token and not (token.isascii() and token.isprintable()):
            raise DemoError("The token has characters that no token has: copy it again.")
        # 26,000 requests: httpx takes 1.4 ms of CPU for each, and this 0.5.
        self._kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._path = parts.path
        self._headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
        self._connections: dict[int, http.client.HTTPConnection] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for connection in self._connections.values():
            connection.close()

    def list_pipelines(self) -> list[dict[str, Any]]:
        return list(self._call("GET", "/pipeline"))

    def list_incidents(self) -> list[dict[str, Any]]:
        """What is wrong and not over, the worst first."""
        return list(self._call("GET", "/incident?state=live&limit=1000"))

    def save(self, kind: str, **fields: object) -> int:
        """Create or update a ``pipeline``, ``pipeline_type`` or ``anomaly_detection_rule``, and return its id."""
        return int(self._call("POST", f"/{kind}", fields)["id"])

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
        return int(self._call("POST", "/start_pipeline_execution", body)["id"])

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
        return dict(self._call("GET", f"/pipeline_execution/{execution_id}"))

    def count_pending_tasks(self) -> int:
        """The number of background tasks that wait in the queues."""
        return int(self._call("POST", "/celery/monitor-queue")["total_pending"])

    def lift_rate_limit(self, task: str, minutes: int) -> bool:
        """Lift the rate limit of a task for some minutes; False if the token may not do that."""
        return self._ask("PUT", f"/rate-limits/{task}", {"limit": "none", "minutes": minutes}).is_success

    def restore_rate_limit(self, task: str) -> None:
        """Go back to the configured limit."""
        self._call("DELETE", f"/rate-limits/{task}")

    def _call(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Any:
        answer = self._ask(method, path, body)
        if answer.status in {401, 403}:
            raise DemoError(
                "This Watcher asks for a token that may write: make one with "
                "`watcher token create demo --scope write` and give it with --token or WATCHER_TOKEN."
            )
        if not answer.is_success:
            text = answer.content.decode(errors="replace")[:300]
            raise DemoError(f"Watcher refused {method} {path} with {answer.status}: {text}")
        if answer.content and not answer.kind.startswith("application/json"):
            raise DemoError(f"What answers at {self.url} is no Watcher: give Watcher's address with --url.")
        return json.loads(answer.content) if answer.content else None

    def _ask(self, method: str, path: str, body: Mapping[str, object] | None) -> "_Answer":
        connection = self._connection()
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, self._path + path, text, self._headers)
            response = connection.getresponse()
            return _Answer(response.status, response.getheader("Content-Type") or "", response.read())
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise DemoError(
                f"Watcher at {self.url} did not answer {method} {path} ({type(error).__name__}): "
                "see its log, then run `watcher demo --again` to go on."
            ) from error

    def _connection(self) -> http.client.HTTPConnection:
        thread = threading.get_ident()
        connection = self._connections.get(thread)
        if connection is None:
            connection = self._connections[thread] = self._kind(*self._place, timeout=60)
        if connection.sock is not None and select.select([connection.sock], [], [], 0)[0]:
            # Nothing was asked, so this is the server's end of a connection that was idle for long.
            connection.close()
        if connection.sock is None:
            try:
                connection.connect()
            except OSError as error:
                raise DemoError(
                    f"No Watcher answers at {self.url}: start one with `watcher up`, or give its address with --url."
                ) from error
        return connection


class _Answer(NamedTuple):
    status: int
    kind: str
    content: bytes

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300  # noqa: PLR2004 - HTTP's own numbers


def _not_an_address(url: str) -> str:
    return f"{url} is not an address of a Watcher: give one like http://127.0.0.1:8000."
