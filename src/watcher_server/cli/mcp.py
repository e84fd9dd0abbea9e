"""``watcher mcp``: the tools of a server over standard input and output."""

import asyncio

from watcher_server.cli.errors import CommandError


def run_mcp(url: str, token: str | None) -> None:
    """Serve until standard input ends; raises CommandError if the SDK is not installed, or no Watcher answers there."""
    if not url.startswith(("http://", "https://")):
        raise CommandError("WATCHER_URL must begin with http:// or https://")
    try:
        from watcher_server.mcp_server.bridge import NoServerError, serve_stdio
    except ModuleNotFoundError as error:
        raise CommandError(
            f"The package {error.name} is not installed: install Watcher with its extra `mcp` "
            "(pip install 'watcher-server[mcp]')."
        ) from error
    try:
        asyncio.run(serve_stdio(url.rstrip("/"), token or None))
    except* NoServerError as errors:
        raise CommandError(str(_first(errors))) from None
    except* KeyboardInterrupt:
        pass


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
