"""Rendering pages: templates and the headers that go with every page."""

from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from watcher_server import __version__
from watcher_server.kit.durations import duration_text

_FOLDER = Path(__file__).parent
STYLESHEET = _FOLDER / "static" / "watcher.css"

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def _count(value: float | None) -> str:
    """A number with thousands separators; an en dash where there is none."""
    return "–" if value is None else f"{value:,}"  # noqa: RUF001 - a dash is meant


def _size(size_bytes: int) -> str:
    """A size in the largest binary unit that keeps it above one."""
    size = float(size_bytes)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:  # noqa: PLR2004 - the step between the units
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} TiB"


def _duration(seconds: float | None) -> str:
    """A duration in its two largest units; an en dash where there is none."""
    return "–" if seconds is None else duration_text(seconds)  # noqa: RUF001 - a dash is meant


_environment = Environment(loader=FileSystemLoader(_FOLDER / "templates"), autoescape=True, undefined=StrictUndefined)
_environment.filters |= {"count": _count, "size": _size, "duration": _duration}
_environment.globals["version"] = __version__


def render(request: Request, template: str, *, status_code: int = 200, **context: Any) -> HTMLResponse:
    """The page as an answer. It loads nothing from another host and runs no script."""
    context.setdefault("error", None)
    logged_in = "watcher_token" in request.cookies
    page = _environment.get_template(template).render(path=request.url.path, logged_in=logged_in, **context)
    return HTMLResponse(page, status_code=status_code, headers=_HEADERS)
