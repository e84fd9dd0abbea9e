"""The pages of the documentation."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from watcher_server.http.body import JsonRoute
from watcher_server.web.documentation.library import CONTENTS
from watcher_server.web.documentation.rendering import list_contents, read_document
from watcher_server.web.pages import render

router = APIRouter(route_class=JsonRoute, include_in_schema=False)


# The first look at a long document takes some milliseconds, which a thread spends.
@router.get("/ui/documentation")
def show_contents(request: Request) -> HTMLResponse:
    """All documents in reading order."""
    return show_document(request, CONTENTS)


@router.get("/ui/documentation/{document:path}")
def show_document(request: Request, document: str) -> HTMLResponse:
    """One document."""
    return render(
        request,
        "documentation/index.html",
        name=document,
        document=read_document(document),
        contents=list_contents(),
    )
