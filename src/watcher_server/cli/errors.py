"""What a command says when it cannot do what was asked."""


class CommandError(Exception):
    """An expected failure; the message is one sentence that says what to do."""


def expected_errors() -> tuple[type[Exception], ...]:
    """Every error that ends a command with its message and status 1, and without a traceback."""
    # PLC0415: imported when something went wrong, so that `watcher --help` stays fast.
    from watcher_server.embedded.errors import EmbeddedError
    from watcher_server.settings import SettingsError

    return (CommandError, EmbeddedError, SettingsError)
