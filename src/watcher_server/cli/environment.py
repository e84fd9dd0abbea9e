"""Where a command finds its database, its broker and the api."""

import os

from watcher_server.cli.readiness import base_url
from watcher_server.embedded.running import RunningServices, find_running
from watcher_server.settings import Settings, get_settings, load_settings


def settings_beside_up() -> Settings:
    """The settings, completed by what ``watcher up`` runs on the same WATCHER_HOME.

    The URLs found are put into the environment, where the rest of the program reads them.
    """
    settings = load_settings()
    if settings.database_url is None or settings.broker_url is None:
        running = find_running(settings.home)
        if running is not None:
            _adopt(settings, running)
    return get_settings()


def _adopt(settings: Settings, running: RunningServices) -> None:
    if settings.database_url is None and running.database_url is not None:
        os.environ["WATCHER_DATABASE_URL"] = running.database_url
    if settings.broker_url is None and running.broker_url is not None:
        os.environ["WATCHER_BROKER_URL"] = running.broker_url
    get_settings.cache_clear()


def find_api_url(settings: Settings) -> str:
    """Where to call the api.

    It is where WATCHER_HOST and WATCHER_PORT say, if either is set, else where ``watcher up`` on the same
    WATCHER_HOME listens, else where the api listens by default.
    """
    if settings.model_fields_set.isdisjoint({"host", "port"}):
        running = find_running(settings.home)
        if running is not None and running.api_url is not None:
            return running.api_url
    return base_url(settings)
