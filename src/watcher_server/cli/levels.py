"""Levels of log messages."""

from watcher_server.cli.errors import CommandError
from watcher_server.settings import Settings

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def log_level(settings: Settings) -> str:
    """WATCHER_LOG_LEVEL in capitals.

    Raises:
        CommandError: it is no level.
    """
    level = settings.log_level.upper()
    if level not in LOG_LEVELS:
        raise CommandError(f"WATCHER_LOG_LEVEL must be one of {', '.join(LOG_LEVELS)}.")
    return level
