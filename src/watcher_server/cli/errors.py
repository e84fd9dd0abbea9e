"""The errors that end a command with one sentence."""


class CommandError(Exception):
    """An expected failure; the message is one sentence that says what to do."""


def expected_errors() -> tuple[type[Exception], ...]:
    """Every error that ends a command with its message and status 1, and without a traceback."""
    # PLC0415: imported after a failure only, so that `watcher --help` stays fast.
    from watcher_server.database.migrate import NewerDatabaseError, SchemaError
    from watcher_server.database.version import OldServerError, PoolerError
    from watcher_server.embedded.errors import EmbeddedError
    from watcher_server.settings import SettingsError
    from watcher_server.tasking.sending.broker_check import UnfitBrokerError

    return (
        CommandError,
        EmbeddedError,
        NewerDatabaseError,
        OldServerError,
        PoolerError,
        SchemaError,
        SettingsError,
        UnfitBrokerError,
    )
