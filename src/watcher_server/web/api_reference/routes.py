"""The reference of the API, drawn from ``/openapi.json`` by two libraries that Watcher serves itself."""

from fastapi import Request
from fastapi.responses import HTMLResponse

from watcher_server.web.pages import HEADERS, page_router, render

router = page_router()

# Scalar brings its styles as elements and attributes of style, and has no way around it. Its scripts come from our own
# files only, as everywhere, and nothing is asked of another host.
_SCALAR_POLICY = HEADERS["Content-Security-Policy"].replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")


@router.get("/docs")
async def show_docs(request: Request) -> HTMLResponse:
    """The reference in Swagger UI."""
    return render(request, "api_reference/docs.html", openapi_url=request.app.openapi_url)


@router.get("/scalar")
async def show_scalar(request: Request) -> HTMLResponse:
    """The reference in Scalar."""
    page = render(request, "api_reference/scalar.html", openapi_url=request.app.openapi_url)
    page.headers["Content-Security-Policy"] = _SCALAR_POLICY
    return page
