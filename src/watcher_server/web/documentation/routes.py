"""The pages of the documentation."""

from fastapi import Request
from fastapi.responses import HTMLResponse

from watcher_server.web.documentation.library import CONTENTS
from watcher_server.web.documentation.rendering import list_contents, read_document
from watcher_server.web.pages import page_router, render

router = page_router()


# The first look at a long document takes some milliseconds, which a thread spends.
@router.get("/ui/documentation")
def show_contents(request: Request) -> HTMLResponse:
    """All documents in reading order."""
    return show_document(request, CONTENTS)


@router.get("/ui/documentation/{document:path}")
def show_document(request: Request, document: str) -> HTMLResponse:
    """One document."""
    found, contents = read_document(document), list_contents()
    return render(request, "documentation/index.html", name=document, document=found, contents=contents)
