"""The Model Context Protocol over HTTP."""

import asyncio
import importlib

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

_MISSING = (
    "This Watcher does not speak MCP: install it with its extra `mcp` (pip install 'watcher-server[mcp]'), and start "
    "it again."
)


class _Endpoint:
    """Loads the SDK when it is first asked, apart from the event loop: that takes a second, and most never ask."""

    def __init__(self) -> None:
        self._answer: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a message, or say that the extra is not installed."""
        if self._answer is None:
            try:
                self._answer = await asyncio.to_thread(_load)
            except ModuleNotFoundError as error:
                if error.name is None or error.name.partition(".")[0] != "mcp":
                    raise
                await JSONResponse({"detail": _MISSING}, status_code=501)(scope, receive, send)
                return
        await self._answer(scope, receive, send)


def _load() -> ASGIApp:
    answer: ASGIApp = importlib.import_module("watcher_server.mcp_server.server").answer
    return answer


ENDPOINT = _Endpoint()
# GET and DELETE are for sessions, which a stateless server has not.
router = APIRouter(routes=[Route("/mcp", ENDPOINT, methods=["POST"], include_in_schema=False)])
