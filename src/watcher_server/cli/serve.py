"""The HTTP server itself, without the checks of ``watcher api``; ``watcher up`` has made them already."""

import gc
from typing import TYPE_CHECKING

import uvicorn

from watcher_server.cli.connections import raise_file_limit
from watcher_server.cli.levels import log_level
from watcher_server.cli.protocol import PlainHttpProtocol
from watcher_server.settings import Settings, SettingsError, exit_with, load_settings
from watcher_server.telemetry.server_logs import server_log_config
from watcher_server.telemetry.tracing import require_tracing

if TYPE_CHECKING:
    from fastapi import FastAPI

# Long polls and event streams are cut after this; a request on the hot path takes milliseconds.
_GRACE_SECONDS = 3
# A process that has not said for so long that it lives is killed, with all requests that it answers. One request may
# keep it busy for seconds on a busy machine.
_STUCK_SECONDS = 30


def serve(settings: Settings) -> None:
    """Serve until a signal comes.

    Raises:
        CommandError: the log level is none.
        SettingsError: traces are on, and the packages for them are not installed.
    """
    level = log_level(settings)
    require_tracing(settings)
    raise_file_limit()
    uvicorn.run(
        "watcher_server.cli.serve:create_served_app",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.api_processes,
        loop="uvloop",
        http=PlainHttpProtocol,
        ws="none",
        access_log=False,
        log_level=level.lower(),
        log_config=server_log_config(settings, level),
        timeout_graceful_shutdown=_GRACE_SECONDS,
        timeout_worker_healthcheck=_STUCK_SECONDS,
    )


def create_served_app() -> "FastAPI":
    """The application of a process that does nothing else.

    The garbage collector leaves out what exists now: 200,000 objects that live as long as the process. Each full
    collection would otherwise stop a request for 80 ms.
    """
    from watcher_server.app import create_app

    app = create_app()
    gc.collect()
    gc.freeze()
    return app


if __name__ == "__main__":
    try:
        serve(load_settings())
    except SettingsError as error:
        exit_with(str(error))
