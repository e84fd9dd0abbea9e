"""The HTTP server itself, without the checks of ``watcher api``; ``watcher up`` has made them already."""

import gc
import multiprocessing
import sys
from functools import cache
from typing import TYPE_CHECKING

import uvicorn
import uvicorn._subprocess

from watcher_server.cli.api_processes import watch_by_events
from watcher_server.cli.checks import log_level
from watcher_server.cli.connections import raise_file_limit
from watcher_server.cli.protocol import PlainHttpProtocol
from watcher_server.http.ticks import wait_to_be_told
from watcher_server.settings import Settings, load_settings
from watcher_server.tasking.sending.relay import Relay
from watcher_server.telemetry.server_logs import server_log_config
from watcher_server.telemetry.tracing import require_tracing

if TYPE_CHECKING:
    from fastapi import FastAPI

# Long polls and event streams are cut after this; a request on the hot path takes milliseconds.
_GRACE_SECONDS = 3
# A process that has not said for so long that it lives is killed, with all requests that it answers. One request may
# keep it busy for seconds on a busy machine.
_STUCK_SECONDS = 30
# The worker's relay looks each second for messages that no process has announced. Without the worker no task runs.
_BESIDE_WORKER_SECONDS = 5.0


def serve(settings: Settings) -> None:
    """Serve until a signal comes.

    Raises:
        CommandError: the log level is none.
        SettingsError: traces are on, and the packages for them are not installed; or WATCHER_PUBLIC_URL has the path of
            another address of Watcher.
    """
    level = log_level(settings)
    require_tracing(settings)
    if settings.root_path:
        from watcher_server.app import require_own_path

        require_own_path(settings)
    raise_file_limit()
    wait_to_be_told()
    if settings.api_processes > 1:
        _share_memory(settings)
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


def serve_configured() -> None:
    """As :func:`serve`, with the settings of the environment."""
    serve(load_settings())


def serve_beside_worker() -> None:
    """As :func:`serve_configured`, where a worker of the same settings runs beside it."""
    Relay.look_seconds = _BESIDE_WORKER_SECONDS
    serve_configured()


def _share_memory(settings: Settings) -> None:
    """Have uvicorn fork its processes from this one, which has the application already.

    It starts each as a program of its own, which takes two seconds and 120 MB; a fork shares most of that. Elsewhere
    than on Linux, libraries of the system do not outlive a fork.
    """
    if sys.platform != "linux":
        return
    uvicorn._subprocess.spawn = multiprocessing.get_context("fork")  # type: ignore[assignment] # noqa: SLF001
    watch_by_events()
    make_shared_app(settings)


def make_shared_app(settings: Settings) -> None:
    """Make the application for the processes that this one forks, unless it cannot be shared."""
    # Traces are sent by a thread of the process that makes the application.
    if not settings.telemetry:
        create_served_app()


@cache
def create_served_app() -> "FastAPI":
    """The application of a process that does nothing else, and of those that it forks.

    The garbage collector leaves out what exists now: 200,000 objects that live as long as the process. Each full
    collection would otherwise stop a request for 80 ms, and its marks would copy the memory that forks share.
    """
    from watcher_server.app import create_app

    app = create_app()
    gc.collect()
    gc.freeze()
    return app
