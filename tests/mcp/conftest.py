"""Fixtures: a client of the SDK on the application of the tests."""

from contextlib import AbstractAsyncContextManager

import httpx
import pytest
from fastapi import FastAPI
from mcp.client import Client

from tests.mcp.asking import Connect, connect


@pytest.fixture
def asking(client: httpx.AsyncClient, _shared_app: FastAPI) -> Connect:
    """From a token, or none, to a client that has connected; the database is empty at first."""
    assert client is not None

    def make(token: str | None = None, *, mode: str = "auto") -> AbstractAsyncContextManager[Client]:
        return connect(_shared_app, token, mode=mode)

    return make
