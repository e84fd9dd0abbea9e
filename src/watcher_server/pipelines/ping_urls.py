"""The ping URL of a pipeline, for those who may write: anybody who has it may report runs."""

from uuid import UUID

from fastapi import Request

from watcher_server.http.own_address import own_address


def ping_url(request: Request, uuid: UUID) -> str:
    """The URL, as WATCHER_PUBLIC_URL says where Watcher is, else as the request came."""
    return f"{own_address(request)}/ping/{uuid}"
