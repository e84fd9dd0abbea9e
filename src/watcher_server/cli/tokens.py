"""``watcher token``: make, list, rotate and revoke tokens."""

import sys
from datetime import UTC, datetime, timedelta

from rich.table import Table
from rich.text import Text

from watcher_server.auth.service import (
    InvalidTokenNameError,
    ListedToken,
    TokenNameTakenError,
    create_token,
    list_tokens,
    revoke_token,
    rotate_token,
)
from watcher_server.cli.databases import command_transaction
from watcher_server.cli.errors import CommandError
from watcher_server.cli.terminal import console
from watcher_server.kit.durations import duration_text, read_duration
from watcher_server.kit.terminal import typeable
from watcher_server.kit.text import escape_controls


def create(name: str, scope: str, expires: str, purpose: str | None) -> None:
    """Print a new token on standard output, and on standard error what to do with it.

    Raises:
        CommandError: the name is taken, or cannot be stored, or ``expires`` is no duration.
    """
    lifetime = _lifetime(expires)
    with command_transaction() as connection:
        try:
            token = create_token(connection, name, scope, lifetime=lifetime, purpose=purpose)
        except TokenNameTakenError:
            raise CommandError(
                f"There is a token named {name} already: choose another name, "
                f"or revoke that one with `watcher token revoke {name}`."
            ) from None
        except InvalidTokenNameError as error:
            raise CommandError(str(error)) from None
    _print_once(token, lifetime)


def rotate(name: str, overlap: str, expires: str) -> None:
    """Print a new secret of a token; the old one works on for the overlap.

    Raises:
        CommandError: there is none of that name, or a duration is none.
    """
    lifetime, rest = _lifetime(expires), _duration(overlap, "--overlap", "24h, or 0s for none")
    with command_transaction() as connection:
        token = rotate_token(connection, name, overlap=rest, lifetime=lifetime)
    if token is None:
        raise _unknown(name)
    said = f"works for {duration_text(rest.total_seconds())} more" if rest else "works no more, nor do its logins"
    sys.stderr.write(f"The old secret {said}.\n")
    _print_once(token, lifetime)


def _print_once(token: str, lifetime: timedelta | None) -> None:
    end = (
        "It does not expire."
        if lifetime is None
        else f"It expires on {datetime.now(UTC) + lifetime:%Y-%m-%d %H:%M} UTC."
    )
    sys.stderr.write(f"Keep this token now, it is not shown again. {end} Send it as: Authorization: Bearer TOKEN\n")
    sys.stdout.write(f"{token}\n")


def _lifetime(expires: str) -> timedelta | None:
    return None if expires.strip().lower() == "never" else _duration(expires, "--expires", "90d, 12h or never")


def _duration(text: str, option: str, example: str) -> timedelta:
    found = read_duration(text)
    if found is None or (option == "--expires" and not found):
        raise CommandError(f"{option} takes a time of ten years at most, such as {example}.")
    return found


def show_all() -> None:
    """Print a table of the tokens."""
    with command_transaction() as connection:
        tokens = list_tokens(connection)
    if not tokens:
        sys.stdout.write(typeable("There is no token yet; `watcher token create NAME --scope admin` makes one.\n"))
        return
    table = Table("Name", "Scope", "Purpose", "Made (UTC)", "Expires (UTC)", "Last used (UTC)")
    for token in tokens:
        # Text, because a plain string is read as markup, and a name may look like it.
        name, purpose = Text(escape_controls(token.name)), Text(escape_controls(token.purpose or ""))
        used = _minute(token.last_used_at)
        table.add_row(name, token.scope, purpose, _minute(token.created_at), _end(token), used)
    console().print(table)


def _end(token: ListedToken) -> Text:
    end = _minute(token.expires_at)
    return Text(f"{end}, expired" if token.is_over else end, style="red" if token.is_over or token.ends_soon else "")


def revoke(name: str) -> None:
    """Revoke a token.

    Raises:
        CommandError: there is none of that name.
    """
    with command_transaction() as connection:
        revoked = revoke_token(connection, name)
    if not revoked:
        raise _unknown(name)
    sys.stdout.write(f"The token {name} is revoked.\n")


def _unknown(name: str) -> CommandError:
    return CommandError(f"There is no token named {name}: `watcher token list` shows them all.")


def _minute(moment: datetime | None) -> str:
    return "never" if moment is None else f"{moment:%Y-%m-%d %H:%M}"
