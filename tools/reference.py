"""The references of the site: commands, requests and metrics, from the program itself, so that none is left out."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from typer.main import get_command

from watcher_server.app import create_app
from watcher_server.cli.main import app as commands
from watcher_server.settings import load_settings

SOURCES = Path(__file__).parents[1] / "src" / "watcher_server"
_METRIC = re.compile(r"(watcher|celery)_[a-z_]+")
# What FastAPI writes where a route describes no answer.
_NOTHING_SAID = "Successful Response"

Schema = dict[str, Any]


def write_references(folder: Path) -> None:
    """Write ``commands.md``, ``api.md`` and ``metrics.md`` into a new folder."""
    folder.mkdir()
    for name, lines in {"commands": list_commands(), "api": list_requests(), "metrics": list_metrics()}.items():
        (folder / f"{name}.md").write_text("\n".join(lines))


def list_commands() -> Iterator[str]:
    """Every command with its arguments and options."""
    yield "# Commands\n\nEvery command prints this with `--help`.\n"
    yield from _command(get_command(commands), "watcher")


def _command(command: Any, name: str) -> Iterator[str]:
    context = click.Context(command, info_name=name)
    if name != "watcher":
        usage = " ".join(command.collect_usage_pieces(context))
        yield f"## `{name}`\n\n{(command.help or '').strip()}\n\n    {name} {usage}\n"
        records = [parameter.get_help_record(context) for parameter in command.params]
        rows = [record for record in records if record and "--help" not in record[0]]
        if rows:
            yield "| option | meaning |\n| --- | --- |"
            yield from (f"| `{_cell(option)}` | {_cell(meaning)} |" for option, meaning in rows)
            yield ""
    for below in getattr(command, "commands", {}).values():
        yield from _command(below, f"{name} {below.name}")


def list_requests() -> Iterator[str]:
    """Every request with its fields, its answers and its example; then the shapes of what is in them."""
    document = create_app(load_settings(database_url="postgresql:///none", broker_url="redis://none")).openapi()
    yield (
        "# Requests\n\nA running Watcher serves this at `/docs` and `/scalar`, to try out, and as `/openapi.json`. "
        "How a token is shown: [access](../access.md). Lists are pages: `limit` and `offset`.\n"
    )
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"## `{method.upper()} {path}`\n\n{operation.get('description') or operation['summary']}\n"
            yield from _operation(operation)
    yield "# Shapes\n\nWhat bodies and answers consist of.\n"
    for name, shape in sorted(document["components"]["schemas"].items()):
        yield f"## {name}\n\n{shape.get('description', '')}\n"
        yield from _table(_row(field, kind, required=field in shape.get("required", ()))
                          for field, kind in shape.get("properties", {}).items())  # fmt: skip
        if "enum" in shape:
            yield f"One of {', '.join(f'`{value}`' for value in shape['enum'])}.\n"


def _operation(operation: Schema) -> Iterator[str]:
    scopes = sorted({scope for one in operation["security"] for names in one.values() for scope in names})
    yield (
        f"Needs a token with the scope {', '.join(f'`{scope}`' for scope in scopes)}.\n" if scopes else "Open to all.\n"
    )
    yield from _table(
        _row(parameter["name"], parameter["schema"], required=parameter.get("required", False), told=parameter)
        for parameter in operation.get("parameters", ())
    )
    for content in operation.get("requestBody", {}).get("content", {}).values():
        yield f"Body: {_kind(content['schema'])}\n"
        yield from _example(content)
    for status, answer in sorted(operation["responses"].items()):
        contents = list(answer.get("content", {}).values())
        shapes = [_kind(content["schema"]) for content in contents if content.get("schema")]
        said = [answer["description"].rstrip(".")] if answer["description"] != _NOTHING_SAID else []
        yield f"- **{status}** {': '.join(said + shapes) or 'no body'}"
    yield ""
    for answer in operation["responses"].values():
        for content in answer.get("content", {}).values():
            yield from _example(content)


def _example(content: Schema) -> Iterator[str]:
    if "example" in content:
        yield f"```json\n{json.dumps(content['example'], indent=2)}\n```\n"


def _table(rows: Iterator[str]) -> Iterator[str]:
    lines = list(rows)
    if lines:
        yield "| field | type | meaning |\n| --- | --- | --- |"
        yield from lines
        yield ""


def _row(name: str, schema: Schema, *, required: bool, told: Schema | None = None) -> str:
    meaning = schema.get("description") or (told or {}).get("description", "")
    return f"| `{name}`{' (required)' if required else ''} | {_kind(schema)} | {_cell(meaning)} |"


def _kind(schema: Schema) -> str:
    """The type in words, with a link to its shape where it has one."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_kind(one) for one in schema["anyOf"]))
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    if "const" in schema or "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    return str(schema.get("format") or schema.get("type") or "any")


def list_metrics() -> Iterator[str]:
    """Every metric, as its declaration in the code explains it."""
    yield "# Metrics\n\nOf `GET /metrics` and of the port of each worker; see [monitoring](../monitoring.md).\n"
    yield "| metric | meaning |\n| --- | --- |"
    yield from (f"| `{name}` | {_cell(meaning)} |" for name, meaning in sorted(find_metrics().items()))


def find_metrics() -> dict[str, str]:
    """The name of every metric that the code declares, and its help text."""
    found = {}
    for file in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            # A look-up with a default has two texts too.
            if isinstance(node, ast.Call) and not ast.unparse(node.func).endswith(".get"):
                texts = [one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, str)]
                if len(texts) > 1 and _METRIC.fullmatch(texts[0]):
                    # prometheus_client adds this to the names of counters.
                    total = "_total" if "counter" in ast.unparse(node.func).lower() else ""
                    found[texts[0] + total] = texts[1]
    return found


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")
