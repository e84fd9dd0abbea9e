"""Error pages for browsers, with the status and the sentence that a program gets."""

import json
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exception_handlers import http_exception_handler
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from watcher_server.http.errors import EXPECTED_ERRORS, answer_error
from watcher_server.web.pages import is_part, render


def register_page_errors(app: FastAPI) -> None:
    """Show a browser the errors of pages as pages; programs and htmx keep getting JSON."""
    for kind in EXPECTED_ERRORS:
        app.add_exception_handler(kind, _handle)
    app.add_exception_handler(HTTPException, _handle_http)


async def _handle(request: Request, error: Exception) -> Response:
    answer = answer_error(error)
    if answer is None:
        raise error
    if not _wants_page(request):
        return answer
    # The detail of an answer for programs as a sentence for people.
    detail = json.loads(bytes(answer.body))["detail"]
    if not isinstance(detail, str):
        wrong = [(" ".join(map(str, each["loc"][1:])) or "The request", each["msg"]) for each in detail]
        detail = " ".join(f"{place}: {said}." for place, said in wrong)
    return _page(request, answer.status_code, detail)


async def _handle_http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if not _wants_page(request):
        return await http_exception_handler(request, error)
    detail = "There is no such page." if error.status_code == HTTPStatus.NOT_FOUND else f"{error.detail}."
    return _page(request, error.status_code, detail)


def _wants_page(request: Request) -> bool:
    path = request.url.path
    is_page = path in {"/ui", "/reporting", "/lineage-graph", "/diagnostics"} or path.startswith("/ui/")
    return is_page and not is_part(request) and "text/html" in request.headers.get("accept", "")


def _page(request: Request, status: int, detail: str) -> Response:
    return render(request, "error.html", status_code=status, title=HTTPStatus(status).phrase, detail=detail)
