"""The ping URL of a pipeline, for those who may write: anybody who has it may report runs."""

from uuid import UUID

from fastapi import Request


def ping_url(request: Request, uuid: UUID) -> str:
    """The URL, as WATCHER_PUBLIC_URL says where Watcher is, else as the request came."""
    base = request.app.state.settings.public_url or str(request.base_url)
    return f"{base.rstrip('/')}/ping/{uuid}"
