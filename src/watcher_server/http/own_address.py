"""The address of this server, for what people copy from a page into a program."""

from fastapi import Request

from watcher_server.http.state import app_state


def own_address(request: Request) -> str:
    """The URL without a slash at its end: as WATCHER_PUBLIC_URL says, else as the request came."""
    return (app_state(request).settings.public_url or str(request.base_url)).rstrip("/")
