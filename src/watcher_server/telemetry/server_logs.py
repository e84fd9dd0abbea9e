"""The log of the api: uvicorn's, in the configured format."""

from copy import deepcopy
from typing import Any

from uvicorn.config import LOGGING_CONFIG
from uvicorn.logging import DefaultFormatter

from watcher_server.settings import Settings
from watcher_server.telemetry.logs import JsonLogFormatter, TextFormatter


class ServerFormatter(TextFormatter, DefaultFormatter):
    """Text as uvicorn writes it."""


def server_log_config(settings: Settings, level: str) -> dict[str, Any]:
    """Uvicorn's own configuration, whose handler takes all other log lines too: without Slack, alerts are log lines."""
    kind = JsonLogFormatter if settings.log_format == "json" else ServerFormatter
    config = deepcopy(LOGGING_CONFIG)
    formatter = config["formatters"]["default"]
    # By name, because the api's processes receive this configuration as data.
    formatter["()"] = f"{kind.__module__}.{kind.__qualname__}"
    if kind is JsonLogFormatter:
        del formatter["fmt"], formatter["use_colors"]
    config["root"] = {"handlers": ["default"], "level": level}
    return config
