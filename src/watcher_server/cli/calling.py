"""Asking a server by HTTP, for commands that need not run beside it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from watcher_server.cli.errors import CommandError
from watcher_server.embedded.running import find_api_url
from watcher_server.settings import get_settings

# A large file is read and applied before the answer.
_SECONDS = 120


@contextmanager
def server(url: str | None, token: str | None) -> Iterator[httpx.Client]:
    """A client of the server at that address, by default of the one that runs here.

    Raises:
        CommandError: no Watcher answers there.
    """
    if token and not (token.isascii() and token.isprintable()):
        raise CommandError("The token has characters that no token has: copy it again.")
    url = (url or find_api_url(get_settings())).rstrip("/")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        transport = httpx.HTTPTransport(retries=2)
        with httpx.Client(base_url=url, headers=headers, timeout=_SECONDS, transport=transport) as client:
            yield client
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, ValueError):
        raise CommandError(f"{url} is not an address of a Watcher: give one like http://127.0.0.1:8000.") from None
    except httpx.ConnectError:
        raise CommandError(
            f"No Watcher answers at {url}: start one with `watcher up`, or give its address with --url or WATCHER_URL."
        ) from None
    except httpx.HTTPError as error:
        raise CommandError(
            f"Watcher at {url} did not answer ({type(error).__name__}): see its log, then try again."
        ) from None


def call(method: str, path: str, url: str | None, token: str | None, **request: Any) -> httpx.Response:
    """The answer of the server; the caller judges statuses other than 401 and 403.

    Raises:
        CommandError: no Watcher answers there, or the token may not do that.
    """
    with server(url, token) as client:
        answer = client.request(method, path, **request)
    if answer.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        said = detail_of(answer) or f"Watcher at {str(client.base_url).rstrip('/')} asks for a token"
        raise CommandError(f"{said.removesuffix('.')}. Give one with --token or WATCHER_TOKEN.")
    return answer


def detail_of(answer: httpx.Response) -> str | None:
    """What an answer says of an error, or of the first of several; None where it is not the answer of a Watcher."""
    try:
        detail = answer.json()["detail"]
        return str(detail if isinstance(detail, str) else detail[0]["msg"])[:500]
    except (ValueError, LookupError, TypeError):
        return None


def json_of(answer: httpx.Response, name: str) -> Any:
    """A successful answer, which has a field of that name; raises CommandError if it is something else."""
    try:
        body = answer.json()
        body[name]
    except (ValueError, KeyError, TypeError):
        body = None
    if body is None or not answer.is_success:
        said = detail_of(answer) or "what answers there is no Watcher, or an older one: give its address with --url."
        raise CommandError(f"{said} (status {answer.status_code})")
    return body
