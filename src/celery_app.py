"""The documented entry point: ``celery -A src.celery_app worker`` from the repository's root."""

from watcher_server.embedded.errors import EmbeddedError
from watcher_server.embedded.running import settings_beside_up
from watcher_server.settings import SettingsError, exit_with

try:
    settings_beside_up()  # A `watcher up` on this machine needs no URLs repeated.
    from watcher_server.celery_app import app
except (EmbeddedError, SettingsError) as error:
    exit_with(str(error))

__all__ = ["app"]
