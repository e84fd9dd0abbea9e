"""Whether the api is ready, asked over HTTP."""

import http.client
import json
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Readiness:
    """The answer of ``GET /health/ready``."""

    ready: bool
    text: str


def ask_readiness(url: str, timeout_seconds: float = 3) -> Readiness | None:
    """Ask the api at ``url``; None when nothing answers there. Proxies of the environment are not used."""
    try:
        address = urlsplit(url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=timeout_seconds)
    except (ValueError, http.client.InvalidURL):
        # WATCHER_HOST may be anything.
        return None
    try:
        connection.request("GET", "/health/ready", headers={"Connection": "close"})
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    if response.status == http.HTTPStatus.OK:
        return Readiness(ready=True, text="is ready")
    return Readiness(ready=False, text=f"is not ready: {_reason(body)}")


def _reason(body: bytes) -> str:
    try:
        content = json.loads(body)
    except ValueError:
        return "it is not Watcher that answers"
    detail = content.get("detail", content) if isinstance(content, dict) else content
    return detail if isinstance(detail, str) else json.dumps(detail)
