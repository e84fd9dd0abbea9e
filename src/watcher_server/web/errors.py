"""Error pages for browsers, with the status and the sentence that a program gets."""

import json
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exception_handlers import http_exception_handler
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from watcher_server.http.errors import EXPECTED_ERRORS, answer_error
from watcher_server.web.pages import is_part, render

_PAGES = frozenset({"/ui", "/reporting", "/lineage-graph", "/diagnostics"})


def register_page_errors(app: FastAPI) -> None:
    """Show a browser the errors of pages as pages; programs and htmx keep getting JSON."""
    for kind in EXPECTED_ERRORS:
        app.add_exception_handler(kind, _handle)
    app.add_exception_handler(HTTPException, _handle_http)


async def _handle(request: Request, error: Exception) -> Response:
    answer = answer_error(error)
    if answer is None:
        raise error
    return _page(request, answer.status_code, _sentence(answer)) if _wants_page(request) else answer


async def _handle_http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if not _wants_page(request):
        return await http_exception_handler(request, error)
    detail = "There is no such page." if error.status_code == HTTPStatus.NOT_FOUND else f"{error.detail}."
    return _page(request, error.status_code, detail)


def _wants_page(request: Request) -> bool:
    path = request.url.path
    is_page = path in _PAGES or path.startswith("/ui/")
    return is_page and not is_part(request) and "text/html" in request.headers.get("accept", "")


def _page(request: Request, status: int, detail: str) -> Response:
    return render(request, "error.html", status_code=status, title=HTTPStatus(status).phrase, detail=detail)


def _sentence(answer: JSONResponse) -> str:
    """The detail of an answer for programs as a sentence for people."""
    detail = json.loads(bytes(answer.body))["detail"]
    if isinstance(detail, str):
        return detail
    return " ".join(f"{_place(wrong['loc'])}: {wrong['msg']}." for wrong in detail)


def _place(location: list[str | int]) -> str:
    return " ".join(str(part) for part in location[1:]) or "The request"
