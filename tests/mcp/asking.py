"""Asking as an assistant does, by the official SDK's client."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx2
from fastapi import FastAPI
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, TextContent

MOST_CHARACTERS = 8_000

Ask = Callable[..., Awaitable[str]]


@asynccontextmanager
async def connect(app: FastAPI, token: str | None = None, *, mode: str = "auto") -> AsyncIterator[Client]:
    """A client of an application that has started; ``mode`` is the protocol's age, as the SDK names it."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False, client=("127.0.0.1", 4000))
    async with (
        httpx2.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as http,
        Client(streamable_http_client("http://localhost/mcp", http_client=http), mode=mode) as client,
    ):
        yield client


def text_of(result: CallToolResult) -> str:
    """The text of an answer, which is never longer than promised."""
    (block,) = result.content
    assert isinstance(block, TextContent)
    assert len(block.text) <= MOST_CHARACTERS
    return block.text


async def ask(client: Client, tool: str, **arguments: Any) -> str:
    """The answer of a tool, which must be one."""
    result = await client.call_tool(tool, arguments)
    text = text_of(result)
    assert not result.is_error, text
    return text


async def refusal(client: Client, tool: str, **arguments: Any) -> str:
    """Why a tool did not do it."""
    result = await client.call_tool(tool, arguments)
    text = text_of(result)
    assert result.is_error, text
    return text


Connect = Callable[..., AbstractAsyncContextManager[Client]]
