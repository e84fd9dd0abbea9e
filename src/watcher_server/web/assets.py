"""What pages load: stylesheets, scripts and the libraries that the set-up has put beside them."""

import hashlib
import mimetypes
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse

from watcher_server.http.body import JsonRoute
from watcher_server.kit.errors import NotFoundError

STATIC = Path(__file__).parent / "static"
# Not left to the machine's own table, in which modules are text on some.
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".png": "image/png"}

router = APIRouter(route_class=JsonRoute, include_in_schema=False)


@cache
def _version(path: str) -> str:
    return hashlib.sha256((STATIC / path).read_bytes()).hexdigest()[:12]


@cache
def _packaged_version() -> str:
    """The version of all scripts together: a module loads its siblings by plain relative paths."""
    digest = hashlib.sha256()
    for path in sorted(STATIC.rglob("*.js")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def asset(path: str) -> str:
    """The address of a static file, which changes when the file does.

    Scripts lie below one folder that is named after all of them, so that what one imports is as new as itself.

    Raises:
        FileNotFoundError: there is no such file; the libraries are put there by the set-up.
    """
    if path.endswith(".js"):
        if not (STATIC / path).is_file():
            raise FileNotFoundError(STATIC / path)
        return f"/static/v-{_packaged_version()}/{path}"
    return f"/static/{path}?v={_version(path)}"


@router.get("/static/{path:path}")
async def get_asset(path: str, request: Request) -> FileResponse:
    """A stylesheet, a script, a picture."""
    first, _, rest = path.partition("/")
    is_versioned = first.startswith("v-") and rest != ""
    file = (STATIC / (rest if is_versioned else path)).resolve() if path.isprintable() else STATIC
    try:
        is_asset = file.is_relative_to(STATIC) and file.is_file()
    except OSError:
        # The name is longer than a name may be.
        is_asset = False
    if not is_asset:
        raise NotFoundError("There is no such file.")
    kind = _TYPES.get(file.suffix) or mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    # A named version never changes; without one, the browser asks again after a minute.
    is_lasting = is_versioned or "v" in request.query_params
    caching = "public, max-age=31536000, immutable" if is_lasting else "public, max-age=60"
    headers = {"Cache-Control": caching, "X-Content-Type-Options": "nosniff"}
    return FileResponse(file, media_type=kind, headers=headers)
