"""``watcher dbt``: send what dbt left in its target folder."""

import gzip
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import httpx
import typer

from watcher_server.cli.calling import detail_of, server
from watcher_server.cli.errors import CommandError
from watcher_server.cli.groups import new_group
from watcher_server.cli.options import Url, token_option
from watcher_server.cli.terminal import say
from watcher_server.dbt import ARTIFACTS_PATH

app = new_group()

_MANIFEST = "manifest.json"
_TELLING = ("run_results.json", "sources.json", "freshness.json")
_TRIES = 5
# A manifest shrinks to a tenth; a higher level takes more time than it saves.
_GZIP_LEVEL = 4


@app.command()
def upload(
    target: Annotated[Path, typer.Argument(help="The folder in which dbt left its files.")] = Path("target"),
    *,
    url: Url = None,
    token: Annotated[str | None, token_option("that may write")] = None,
    namespace: Annotated[
        str, typer.Option(envvar="OPENLINEAGE_NAMESPACE", help="What the names of pipelines begin with.")
    ] = "dbt",
    dataset_namespace: Annotated[
        str | None,
        typer.Option(help="What the names of addresses begin with, such as postgres://warehouse:5432; else nothing."),
    ] = None,
    job_name: Annotated[
        str | None,
        typer.Option(envvar="OPENLINEAGE_DBT_JOB_NAME", help="The name of the whole run; else dbt-run-PROJECT."),
    ] = None,
) -> None:
    """Send manifest.json, run_results.json and sources.json. Sending them again changes nothing.

    After each run, whether it failed or not: dbt build; watcher dbt upload
    """
    fields = {"namespace": namespace, "dataset_namespace": dataset_namespace, "job_name": job_name}
    files = _read(target)
    with server(url, token) as client:
        answer = _send(client, files, {name: value for name, value in fields.items() if value is not None})
    address = str(client.base_url).rstrip("/")
    if answer.status_code in {401, 403}:
        raise CommandError(
            "This Watcher asks for a token that may write: make one with `watcher token create dbt --scope write` "
            "and give it with --token or WATCHER_TOKEN."
        )
    if not answer.is_success:
        other = "its answer is not that of a Watcher; give its address with --url or WATCHER_URL."
        raise CommandError(f"Watcher at {address} took nothing ({answer.status_code}): {detail_of(answer) or other}")
    try:
        message = answer.json()["message"]
    except (ValueError, KeyError, TypeError):
        raise CommandError(f"What answers at {address} is no Watcher, or an older one: give its address.") from None
    say(f"{target}: {message}.")


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


def _send(client: httpx.Client, files: Mapping[str, bytes], fields: Mapping[str, str]) -> httpx.Response:
    """The answer; where the server is busy for a moment, to a later try."""
    parts = [(name, (name, content, "application/json")) for name, content in files.items()]
    request = client.build_request("POST", ARTIFACTS_PATH, files=parts, data=fields)
    body = gzip.compress(request.read(), _GZIP_LEVEL)
    headers = {"Content-Type": request.headers["content-type"], "Content-Encoding": "gzip"}
    for _ in range(_TRIES - 1):
        answer = client.post(ARTIFACTS_PATH, content=body, headers=headers)
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            return answer
        wait = answer.headers.get("retry-after", "")
        time.sleep(min(int(wait), 10) if wait.isdigit() else 1)
    return client.post(ARTIFACTS_PATH, content=body, headers=headers)
