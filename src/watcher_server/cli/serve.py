"""The HTTP server itself, without the checks of ``watcher api``; ``watcher up`` has made them already."""

from copy import deepcopy
from typing import Any

import uvicorn
from uvicorn.config import LOGGING_CONFIG

from watcher_server.cli.levels import log_level
from watcher_server.cli.protocol import PlainHttpProtocol
from watcher_server.settings import Settings, load_settings

# Long polls and event streams are cut after this; a request on the hot path takes milliseconds.
_GRACE_SECONDS = 3


def serve(settings: Settings) -> None:
    """Serve until a signal comes.

    Raises:
        CommandError: the log level is none.
    """
    level = log_level(settings)
    uvicorn.run(
        "watcher_server.app:create_app",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.api_processes,
        loop="uvloop",
        http=PlainHttpProtocol,
        access_log=False,
        log_level=level.lower(),
        log_config=_log_config(level),
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )


def _log_config(level: str) -> dict[str, Any]:
    """Uvicorn's own, and its handler for everything else too: without Slack, alerts are log lines."""
    config = deepcopy(LOGGING_CONFIG)
    config["root"] = {"handlers": ["default"], "level": level}
    return config


if __name__ == "__main__":
    serve(load_settings())
