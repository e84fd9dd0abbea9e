"""``watcher token``: make, list, rotate and revoke tokens."""

import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from watcher_server.auth import service
from watcher_server.auth.scopes import Scope
from watcher_server.cli.databases import command_transaction
from watcher_server.cli.errors import CommandError
from watcher_server.cli.groups import new_group
from watcher_server.cli.terminal import console, minute, say
from watcher_server.kit.durations import duration_text, read_duration
from watcher_server.kit.text import escape_controls

app = new_group()

Expires = Annotated[str, typer.Option(help="When it expires, from now: 90d, 12h, 30m, or never.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose it is, to recognise it in the list.")],
    scope: Annotated[
        Scope,
        typer.Option(help="ingest: only report runs. read: look. write: also report and change. admin: everything."),
    ] = Scope.WRITE,
    expires: Expires = "365d",
    purpose: Annotated[str | None, typer.Option(help="Whose it is, or what for.")] = None,
) -> None:
    """Make a token and print it, once: Watcher keeps only its hash.

    Only the token goes to standard output: TOKEN=$(watcher token create nightly --scope write)
    """
    lifetime = _lifetime(expires)
    with command_transaction() as connection:
        try:
            token = service.create_token(connection, name, scope.value, lifetime=lifetime, purpose=purpose)
        except service.TokenNameTakenError:
            raise CommandError(
                f"There is a token named {name} already: choose another name, "
                f"or revoke that one with `watcher token revoke {name}`."
            ) from None
        except service.InvalidTokenNameError as error:
            raise CommandError(str(error)) from None
    _print_once(token, lifetime)


@app.command("list")
def list_all() -> None:
    """List the tokens: name, scope, purpose, when made, when they expire and when last used (UTC)."""
    with command_transaction() as connection:
        tokens = service.list_tokens(connection)
    if not tokens:
        say("There is no token yet; `watcher token create NAME --scope admin` makes one.")
        return
    table = Table("Name", "Scope", "Purpose", "Made (UTC)", "Expires (UTC)", "Last used (UTC)")
    for token in tokens:
        # Text, because a plain string is read as markup, and a name may look like it.
        name, purpose = Text(escape_controls(token.name)), Text(escape_controls(token.purpose or ""))
        used = _minute(token.last_used_at)
        table.add_row(name, token.scope, purpose, _minute(token.created_at), _end(token), used)
    console().print(table)


@app.command()
def rotate(
    name: Annotated[str, typer.Argument(help="The name it was made with.")],
    overlap: Annotated[str, typer.Option(help="How long the old secret works on: 24h, 30m, 0s.")] = "24h",
    expires: Expires = "365d",
) -> None:
    """Give a token a new secret and print it, once. The old one works on meanwhile.

    A token that may have been stolen: watcher token rotate NAME --overlap 0s
    """
    lifetime, rest = _lifetime(expires), _duration(overlap, "--overlap", "24h, or 0s for none")
    with command_transaction() as connection:
        token = service.rotate_token(connection, name, overlap=rest, lifetime=lifetime)
    if token is None:
        raise _unknown(name)
    said = f"works for {duration_text(rest.total_seconds())} more" if rest else "works no more, nor do its logins"
    sys.stderr.write(f"The old secret {said}.\n")
    _print_once(token, lifetime)


@app.command()
def revoke(name: Annotated[str, typer.Argument(help="The name it was made with.")]) -> None:
    """Revoke a token: it stops working within seconds."""
    with command_transaction() as connection:
        revoked = service.revoke_token(connection, name)
    if not revoked:
        raise _unknown(name)
    sys.stdout.write(f"The token {name} is revoked.\n")


def _print_once(token: str, lifetime: timedelta | None) -> None:
    end = f"It expires on {minute(datetime.now(UTC) + lifetime)} UTC." if lifetime else "It does not expire."
    sys.stderr.write(f"Keep this token now, it is not shown again. {end} Send it as: Authorization: Bearer TOKEN\n")
    sys.stdout.write(f"{token}\n")


def _lifetime(expires: str) -> timedelta | None:
    return None if expires.strip().lower() == "never" else _duration(expires, "--expires", "90d, 12h or never")


def _duration(text: str, option: str, example: str) -> timedelta:
    found = read_duration(text)
    if found is None or (option == "--expires" and not found):
        raise CommandError(f"{option} takes a time of ten years at most, such as {example}.")
    return found


def _minute(moment: datetime | None) -> str:
    return "never" if moment is None else minute(moment)


def _end(token: service.ListedToken) -> Text:
    end = _minute(token.expires_at)
    return Text(f"{end}, expired" if token.is_over else end, style="red" if token.is_over or token.ends_soon else "")


def _unknown(name: str) -> CommandError:
    return CommandError(f"There is no token named {name}: `watcher token list` shows them all.")
