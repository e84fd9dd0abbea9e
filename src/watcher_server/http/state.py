"""What hangs on ``app.state``, with its types."""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from fastapi import Request
from sqlalchemy.ext.asyncio import AsyncEngine

from watcher_server.database.ingest_pool import IngestPool
from watcher_server.http.streams import StreamSlots
from watcher_server.settings import Settings

if TYPE_CHECKING:
    from watcher_server.telemetry.spans import Tracing


class Relay(Protocol):
    """The thread that publishes the outbox."""

    def wake(self) -> None:
        """Look into the outbox at once."""


@dataclass
class AppState:
    """What every route may use; :class:`watcher_server.app.Services` adds what belongs to higher packages.

    Fields without a value in the constructor are set when the application starts.
    """

    settings: Settings
    tracing: "Tracing | None"
    query_engine: AsyncEngine = field(init=False)
    ingest_pool: IngestPool = field(init=False)
    relay: Relay = field(init=False)
    # The HTTP server sets it when it is told to stop; answers without an end then end.
    stopping: asyncio.Event = field(init=False)
    stream_slots: StreamSlots = field(init=False)


def app_state(request: Request) -> AppState:
    """The state of the application that answers this request."""
    state: AppState = request.app.state
    return state
