"""What the API's reference says beyond what routes and schemas say: tokens, refusals of every route, and examples."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from watcher_server.auth.credentials import COOKIE
from watcher_server.auth.scopes import needed_scope

Document = dict[str, Any]


class Example(NamedTuple):
    """A body and the answer to it; either may be missing. ``refusals`` are those beside the ones of every route."""

    method: str
    path: str
    status: int
    body: dict[str, Any] | None = None
    answer: dict[str, Any] | None = None
    refusals: dict[str, str] | None = None


# Of each request that a pipeline or its owner sends, in an order that works on an empty Watcher.
EXAMPLES = [Example(**each) for each in json.loads(Path(__file__).with_name("examples.json").read_text("utf-8"))]

# They answer everybody; tests/auth compares them with what the server does.
_PUBLIC = frozenset({"/", "/health/live", "/health/ready"})
_SCHEMES = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token of `watcher token create NAME --scope ingest|read|write|admin`. Before there is one, "
        "Watcher answers its own machine without it.",
    },
    "login": {
        "type": "apiKey",
        "in": "cookie",
        "name": COOKIE,
        "description": "The cookie of a session (`__Host-watcher_session` over https). It changes something only when "
        "a page of Watcher asks.",
    },
}
_REFUSALS = {
    "401": "The request shows no valid token.",
    "403": "The token may not do this, or another site makes a browser ask.",
    "503": "The database does not answer; send the request again.",
}
_REFUSED = {
    "type": "object",
    "title": "Refused",
    "description": "Why a request was not carried out, in one sentence.",
    "properties": {"detail": {"type": "string"}},
    "required": ["detail"],
}


def complete(document: Document) -> Document:
    """The document, with tokens, refusals and examples in it."""
    components = document.setdefault("components", {})
    components["securitySchemes"] = _SCHEMES
    components.setdefault("schemas", {})["Refused"] = _REFUSED
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if path in _PUBLIC and method == "get":
                operation["security"] = []
                continue
            scope = needed_scope(method.upper(), path)
            operation["security"] = [{name: [str(scope)]} for name in _SCHEMES]
            _add_refusals(operation, _REFUSALS)
    for example in EXAMPLES:
        operation = document["paths"][example.path][example.method]
        _add_refusals(operation, example.refusals or {})
        if example.body is not None:
            operation["requestBody"]["content"]["application/json"]["example"] = example.body
        if example.answer is not None:
            operation["responses"][str(example.status)]["content"]["application/json"]["example"] = example.answer
    return document


def _add_refusals(operation: Document, refusals: dict[str, str]) -> None:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Refused"}}}
    for status, description in refusals.items():
        operation["responses"].setdefault(status, {"description": description, "content": content})
