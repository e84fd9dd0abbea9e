"""Asking a server by HTTP, for commands that need not run beside it."""

from typing import Any

import httpx

from watcher_server.cli.errors import CommandError
from watcher_server.embedded.running import find_api_url
from watcher_server.settings import get_settings

_SECONDS = 120


def call(method: str, path: str, url: str | None, token: str | None, **request: Any) -> httpx.Response:
    """The answer of the server; the caller judges statuses other than 401 and 403.

    Raises:
        CommandError: no Watcher answers there, or the token may not do that.
    """
    if token and not (token.isascii() and token.isprintable()):
        raise CommandError("The token has characters that no token has: copy it again.")
    url = (url or find_api_url(get_settings())).rstrip("/")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with httpx.Client(timeout=_SECONDS, transport=httpx.HTTPTransport(retries=2)) as client:
            answer = client.request(method, f"{url}{path}", headers=headers, **request)
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, ValueError):
        raise CommandError(f"{url} is not an address of a Watcher: give one like http://127.0.0.1:8000.") from None
    except httpx.ConnectError:
        raise CommandError(
            f"No Watcher answers at {url}: start one with `watcher up`, or give its address with --url or WATCHER_URL."
        ) from None
    except httpx.HTTPError as error:
        raise CommandError(f"Watcher at {url} did not answer ({type(error).__name__}): see its log.") from None
    _refuse(answer, url)
    return answer


def _refuse(answer: httpx.Response, url: str) -> None:
    if answer.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        said = detail_of(answer) or f"Watcher at {url} asks for a token"
        raise CommandError(f"{said.removesuffix('.')}. Give one with --token or WATCHER_TOKEN.")


def detail_of(answer: httpx.Response) -> str | None:
    """What an answer says of an error, where that is one sentence."""
    try:
        detail = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return None
    return detail if isinstance(detail, str) else None


def json_of(answer: httpx.Response, name: str) -> Any:
    """A successful answer, which has a field of that name.

    Raises:
        CommandError: it is something else.
    """
    try:
        body = answer.json()
        body[name]
    except (ValueError, KeyError, TypeError):
        body = None
    if body is None or not answer.is_success:
        said = detail_of(answer) or "what answers there is no Watcher, or an older one: give its address with --url."
        raise CommandError(f"{said} (status {answer.status_code})")
    return body
