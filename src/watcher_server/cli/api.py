"""``watcher api``: the HTTP server."""

from watcher_server.cli import checks
from watcher_server.cli.serve import serve
from watcher_server.embedded.running import settings_beside_up


def run_api() -> None:
    """Check everything that would make it fail later, then serve until a signal comes.

    Raises:
        CommandError: a check failed.
    """
    settings = settings_beside_up()
    checks.require_free_port(settings.host, settings.port)
    checks.require_database(settings.database, settings.direct_url)
    checks.require_migrations(settings.direct_database)
    checks.require_tokens_for_strangers(settings, settings.direct_database)
    serve(settings)
