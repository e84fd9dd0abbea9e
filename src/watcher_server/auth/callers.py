"""Who sends a request, as the check before every request found."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from fastapi import Request

from watcher_server.auth.scopes import Scope

Kind = Literal["token", "session", "header", "loopback"]


@dataclass(frozen=True)
class Caller:
    """Who sends a request, and what they may do.

    ``kind``: ``token`` shows one in each request, ``session`` is a browser that logged in, ``header`` was named by a
    trusted proxy, ``loopback`` needs to show nothing. ``id`` tells callers apart: that of the token, also in a session;
    negative for a person. ``expires_at`` (UTC) is when what lets them in ends by itself; None for never.
    """

    kind: Kind
    name: str
    scope: Scope
    id: int = 0
    expires_at: datetime | None = None
    session_id: int | None = None


LOOPBACK = Caller("loopback", "loopback", Scope.ADMIN)


def caller_of(request: Request) -> Caller | None:
    """Who sends the request; None where everybody may ask, and for a stranger."""
    caller: Caller | None = request.scope.get("watcher_caller")
    return caller
