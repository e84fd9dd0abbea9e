"""``watcher dbt``: send what dbt left in its target folder."""

import gzip
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import httpx

from watcher_server.cli.errors import CommandError
from watcher_server.dbt import ARTIFACTS_PATH
from watcher_server.embedded.running import find_api_url
from watcher_server.kit.terminal import typeable
from watcher_server.kit.text import escape_controls
from watcher_server.settings import get_settings

_MANIFEST = "manifest.json"
_TELLING = ("run_results.json", "sources.json", "freshness.json")
_TRIES = 5
# A manifest shrinks to a tenth; a higher level takes more time than it saves.
_GZIP_LEVEL = 4
_SECONDS = 120


def upload(target: Path, url: str | None, token: str | None, fields: Mapping[str, str]) -> None:
    """Send the files, and say what came of it on standard output.

    Raises:
        CommandError: there is nothing to send, or Watcher does not answer or take it.
    """
    if token and not (token.isascii() and token.isprintable()):
        raise CommandError("The token has characters that no token has: copy it again.")
    files = _read(target)
    url = (url or find_api_url(get_settings())).rstrip("/")
    answer = _send(url, token, files, fields)
    if answer.status_code in {401, 403}:
        raise CommandError(
            "This Watcher asks for a token that may write: make one with `watcher token create dbt --scope write` "
            "and give it with --token or WATCHER_TOKEN."
        )
    if not answer.is_success:
        raise CommandError(f"Watcher at {url} took nothing ({answer.status_code}): {_reason(answer)}")
    try:
        message = answer.json()["message"]
    except (ValueError, KeyError, TypeError):
        raise CommandError(f"What answers at {url} is no Watcher, or an older one: give its address.") from None
    sys.stdout.write(f"{escape_controls(typeable(f'{target}: {message}'))}.\n")


def _read(target: Path) -> dict[str, bytes]:
    if not target.is_dir():
        raise CommandError(f"There is no folder {target}: name the target folder of dbt, which it makes when it runs.")
    try:
        files = {name: path.read_bytes() for name in (_MANIFEST, *_TELLING) if (path := target / name).is_file()}
    except OSError as error:
        raise CommandError(f"{error.filename} cannot be read: {error.strerror}.") from None
    if _MANIFEST not in files:
        raise CommandError(f"{target} has no {_MANIFEST}: name the target folder of dbt, which it fills when it runs.")
    if len(files) == 1:
        raise CommandError(f"{target} has none of {', '.join(_TELLING)}: run dbt build or dbt source freshness first.")
    return files


def _send(url: str, token: str | None, files: Mapping[str, bytes], fields: Mapping[str, str]) -> httpx.Response:
    try:
        with httpx.Client(timeout=_SECONDS, transport=httpx.HTTPTransport(retries=2)) as client:
            parts = [(name, (name, content, "application/json")) for name, content in files.items()]
            request = client.build_request("POST", f"{url}{ARTIFACTS_PATH}", files=parts, data=fields)
            body = gzip.compress(request.read(), _GZIP_LEVEL)
            headers = {"Content-Type": request.headers["content-type"], "Content-Encoding": "gzip"}
            if token:
                headers["Authorization"] = f"Bearer {token}"
            return _post(client, f"{url}{ARTIFACTS_PATH}", body, headers)
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, ValueError):
        raise CommandError(f"{url} is not an address of a Watcher: give one like http://127.0.0.1:8000.") from None
    except httpx.ConnectError:
        raise CommandError(
            f"No Watcher answers at {url}: start one with `watcher up`, or give its address with --url or WATCHER_URL."
        ) from None
    except httpx.HTTPError as error:
        raise CommandError(
            f"Watcher at {url} did not answer ({type(error).__name__}): see its log, then send the files again."
        ) from None


def _post(client: httpx.Client, url: str, body: bytes, headers: Mapping[str, str]) -> httpx.Response:
    """The answer; where the server is busy for a moment, to a later try."""
    for _ in range(_TRIES - 1):
        answer = client.post(url, content=body, headers=headers)
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            return answer
        wait = answer.headers.get("retry-after", "")
        time.sleep(min(int(wait), 10) if wait.isdigit() else 1)
    return client.post(url, content=body, headers=headers)


def _reason(answer: httpx.Response) -> str:
    try:
        detail = answer.json()["detail"]
        return str(detail if isinstance(detail, str) else detail[0]["msg"])[:500]
    except (ValueError, KeyError, IndexError, TypeError):
        return "its answer is not that of a Watcher; give its address with --url or WATCHER_URL."
