"""The same tools over standard input and output, for editors that start a program: each call goes on to a server.

The server decides by the token what may be read and changed, so this program needs neither a database nor settings.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import mcp_types as types
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError

from watcher_server import __version__


class NoServerError(Exception):
    """No Watcher answers there, or not with this token; the message says what to do."""


async def serve_stdio(url: str, token: str | None) -> None:
    """Hand on every call from standard input to the Watcher at that URL, until the input ends.

    Raises:
        NoServerError: it does not answer at the beginning. Later that is an answer, and the next call tries again.
    """
    async with _connect(url, token) as remote, stdio_server() as (read, write):
        server = _server(remote)
        await server.run(read, write, server.create_initialization_options())


@asynccontextmanager
async def _connect(url: str, token: str | None) -> AsyncIterator[Client]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    # The longest that a statement of the server may take, and some.
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        await _check(http, url)
        async with Client(streamable_http_client(f"{url}/mcp", http_client=http)) as remote:
            yield remote


async def _check(http: httpx2.AsyncClient, url: str) -> None:
    """Ask once by hand: of a refusal the SDK tells nothing but its status."""
    body = {"jsonrpc": "2.0", "id": 0, "method": "ping"}
    headers = {"Accept": "application/json, text/event-stream"}
    try:
        answer = await http.post(f"{url}/mcp", json=body, headers=headers)
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
        raise NoServerError(
            f"No Watcher answers at {url} ({error or type(error).__name__}): set WATCHER_URL to its address."
        ) from None
    if not answer.is_success:
        raise NoServerError(f"{url}/mcp answers {answer.status_code}: {_detail(answer)}")


def _detail(answer: httpx2.Response) -> str:
    try:
        detail = answer.json()["detail"]
    except (ValueError, TypeError, KeyError):
        detail = "is that a Watcher of this version?"
    return f"{detail}"[:500]


def _server(remote: Client) -> Server[Any]:
    async def list_tools(
        _call: ServerRequestContext[Any], _page: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        return await remote.list_tools()

    async def call_tool(_call: ServerRequestContext[Any], params: types.CallToolRequestParams) -> types.CallToolResult:
        try:
            return await remote.call_tool(params.name, params.arguments)
        except MCPError as error:
            away = f"Watcher did not answer: {error}. Try again in a moment."
            return types.CallToolResult(content=[types.TextContent(text=away)], is_error=True)

    return Server(
        "watcher",
        version=__version__,
        title="Watcher",
        instructions=remote.instructions,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )
