"""Where the api listens, and what it says of itself."""

import http.client
import ipaddress
import json
from dataclasses import dataclass
from urllib.parse import urlsplit

from watcher_server.settings import Settings


@dataclass(frozen=True)
class Readiness:
    """The answer of ``GET /health/ready``."""

    ready: bool
    text: str


def reachable_host(host: str) -> str:
    """An address to call a server that listens on ``host``: one that listens everywhere is called locally."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified:
        return "127.0.0.1" if address.version == 4 else "::1"  # noqa: PLR2004 - IP's own version number
    return host


def base_url(settings: Settings) -> str:
    """The api's URL as seen from this machine."""
    host = reachable_host(settings.host)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def ask_readiness(url: str, timeout_seconds: float = 3) -> Readiness | None:
    """Ask the api at ``url``; None when nobody answers there. Proxies of the environment are not used."""
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
