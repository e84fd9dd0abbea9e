"""``watcher apply`` and ``watcher export``: the file on this side, and the server's answers in words."""

import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from watcher_server.cli.calling import call, detail_of, json_of
from watcher_server.cli.errors import CommandError
from watcher_server.cli.terminal import say
from watcher_server.config_file.text import LARGEST_BYTES, Parsed, YamlError, explain_mistake, read_yaml, write_yaml

_SIGNS = {"added": "+", "changed": "~", "removed": "-", "left": "?", "unmatched": "!"}
_HINTS = {"left": "is in the file no more; --prune removes it", "unmatched": "is the name of no pipeline yet"}
_HEAD = """\
# Who is told, and how pipelines are watched: `watcher apply -f FILE` makes it so.
# Secrets are not in here: {stored: true} is kept by the database, env and file say where each is.
"""


def apply(file: Path, url: str | None, token: str | None, *, dry_run: bool, prune: bool) -> None:
    """Apply a file, and print what changes.

    Raises:
        CommandError: the file is wrong, with its line and column, or the server does not take it.
    """
    parsed = _read(file)
    body = {"document": parsed.value, "origin": file.name, "dry_run": dry_run, "prune": prune}
    answer = call("POST", "/alerting/apply", url, token, json=body)
    if answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY:
        raise CommandError(explain(file, parsed, answer))
    _print_plan(json_of(answer, "changes"))


def export(file: Path | None, url: str | None, token: str | None, *, pipelines: bool) -> None:
    """Write the file that makes what is so now, by default to standard output.

    Raises:
        CommandError: the server does not answer, or the file cannot be written.
    """
    answer = call("GET", "/alerting/export", url, token, params={"pipelines": str(pipelines).lower()})
    text = _HEAD + write_yaml(json_of(answer, "version"))
    if file is None:
        sys.stdout.write(text)
        return
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{file} cannot be written: {error.strerror}.") from None


def _read(file: Path) -> Parsed:
    try:
        with file.open("rb") as opened:
            content = opened.read(LARGEST_BYTES + 1)
        text = content.decode()
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise CommandError(f"{file} is not text in UTF-8.") from None
    if len(content) > LARGEST_BYTES:
        raise CommandError(f"{file} is larger than {LARGEST_BYTES // 1024} KiB.")
    try:
        parsed = read_yaml(text)
    except YamlError as error:
        raise CommandError(_at(file, error.place, str(error))) from None
    if not isinstance(parsed.value, dict):
        raise CommandError(_at(file, (1, 1), "the file must begin with version: 1"))
    return parsed


def _at(file: Path, place: tuple[int, int], what: str) -> str:
    return f"{file}, line {place[0]}, column {place[1]}: {what.removesuffix('.')}."


def explain(file: Path, parsed: Parsed, answer: httpx.Response) -> str:
    """The first mistake that the server found, in one sentence."""
    try:
        first = answer.json()["detail"][0]
        where, message, kind = first["loc"], str(first["msg"]), first["type"]
    except (ValueError, KeyError, IndexError, TypeError):
        return f"{file} was not taken: {detail_of(answer) or 'the server did not say why'}"
    within = where[2:] if where[:2] == ["body", "document"] else []
    return _at(file, *explain_mistake(parsed, within, message, kind))


def _print_plan(plan: Mapping[str, Any]) -> None:
    for change in plan["changes"]:
        hint = change["detail"] or _HINTS.get(change["action"])
        line = f"{_SIGNS.get(change['action'], '~')} {change['kind']} {change['name']}"
        say(f"{line}: {hint}" if hint else line)
    number = Counter(change["action"] for change in plan["changes"])
    counts = [f"{number[action]} {action}" for action in ("added", "changed", "removed")]
    taken = f" ({plan['taken_over']} of them come from this file from now on)" if plan["taken_over"] else ""
    ending = "; this was a dry run, and nothing was done" if plan["dry_run"] else ""
    say(f"{', '.join(counts)}, {plan['unchanged']} unchanged{taken}{ending}.")
