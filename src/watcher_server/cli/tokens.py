"""``watcher token``: make, list and revoke tokens."""

import sys
from datetime import datetime

from rich.table import Table
from rich.text import Text

from watcher_server.auth.service import (
    InvalidTokenNameError,
    TokenNameTakenError,
    create_token,
    list_tokens,
    revoke_token,
)
from watcher_server.cli.databases import command_transaction
from watcher_server.cli.errors import CommandError
from watcher_server.cli.terminal import console
from watcher_server.kit.terminal import typeable
from watcher_server.kit.text import escape_controls


def create(name: str, scope: str) -> None:
    """Print a new token on standard output, and on standard error what to do with it.

    Raises:
        CommandError: the name is taken, or cannot be stored.
    """
    with command_transaction() as connection:
        try:
            token = create_token(connection, name, scope)
        except TokenNameTakenError:
            raise CommandError(
                f"There is a token named {name} already: choose another name, "
                f"or revoke that one with `watcher token revoke {name}`."
            ) from None
        except InvalidTokenNameError as error:
            raise CommandError(str(error)) from None
    sys.stderr.write("Keep this token now, it is not shown again. Send it as: Authorization: Bearer TOKEN\n")
    sys.stdout.write(f"{token}\n")


def show_all() -> None:
    """Print a table of the tokens."""
    with command_transaction() as connection:
        tokens = list_tokens(connection)
    if not tokens:
        sys.stdout.write(typeable("There is no token yet; `watcher token create NAME --scope admin` makes one.\n"))
        return
    table = Table("Name", "Scope", "Made (UTC)", "Last used (UTC)")
    for token in tokens:
        # Text, because a plain string is read as markup, and a name may look like it.
        name = Text(escape_controls(token.name))
        table.add_row(name, token.scope, _minute(token.created_at), _minute(token.last_used_at))
    console().print(table)


def revoke(name: str) -> None:
    """Revoke a token.

    Raises:
        CommandError: there is none of that name.
    """
    with command_transaction() as connection:
        revoked = revoke_token(connection, name)
    if not revoked:
        raise CommandError(f"There is no token named {name}: `watcher token list` shows them all.")
    sys.stdout.write(f"The token {name} is revoked.\n")


def _minute(moment: datetime | None) -> str:
    return "never" if moment is None else f"{moment:%Y-%m-%d %H:%M}"
