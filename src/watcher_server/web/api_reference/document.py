"""What the API's reference says beyond what routes and schemas say: tokens, refusals of every route, and examples."""

from typing import Any

from watcher_server.auth.credentials import COOKIE
from watcher_server.auth.scopes import needed_scope
from watcher_server.web.api_reference.examples import EXAMPLES, Example

Document = dict[str, Any]

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
    401: "The request shows no valid token.",
    403: "The token may not do this, or another site makes a browser ask.",
    503: "The database does not answer; send the request again.",
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
        _add_example(document["paths"][example.path][example.method], example)
    return document


def _add_refusals(operation: Document, refusals: dict[int, str]) -> None:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Refused"}}}
    for status, description in refusals.items():
        operation["responses"].setdefault(str(status), {"description": description, "content": content})


def _add_example(operation: Document, example: Example) -> None:
    _add_refusals(operation, example.refusals or {})
    if example.body is not None:
        operation["requestBody"]["content"]["application/json"]["example"] = example.body
    if example.answer is not None:
        operation["responses"][str(example.status)]["content"]["application/json"]["example"] = example.answer
