"""The folders in WATCHER_HOME, and a short one outside it if the path of a Unix socket would be too long."""

import hashlib
import os
import tempfile
from pathlib import Path

from watcher_server.embedded.account import ENGINE_USER, Account
from watcher_server.embedded.errors import EmbeddedError
from watcher_server.embedded.trust import require_trusted_home, require_trusted_way

# The kernel's limit for a socket path is 108 bytes on Linux and 104 on macOS, the final NUL included.
MAX_SOCKET_PATH_BYTES = 103


def prepare_home(home: Path, account: Account) -> Path:
    """Create WATCHER_HOME where it is missing, and return its path without symbolic links.

    A folder that already exists keeps its permissions. Raises EmbeddedError if it cannot be created, other users could
    change what is in it, or the engines' account cannot get into it.
    """
    home = require_trusted_home(home).resolve()
    mode = 0o755 if account.switches else 0o700
    try:
        missing = [folder for folder in (home, *home.parents) if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir(mode)
            # As root the engines' account has to pass through, whatever the umask says.
            folder.chmod(mode)
    except OSError as error:
        raise EmbeddedError(
            f"The data folder {home} cannot be used ({error.strerror}): set WATCHER_HOME to a folder you may write to."
        ) from error
    closed = account.first_closed_folder(home)
    if closed is not None:
        raise EmbeddedError(
            f"The system user {ENGINE_USER}, who runs the embedded engines, may not enter {closed}: "
            "set WATCHER_HOME to a folder outside it, such as /var/lib/watcher."
        )
    return home


def private_folder(path: Path, account: Account | None = None) -> Path:
    """Create a folder inside WATCHER_HOME that only its owner can read (mode 0700)."""
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        path.chmod(0o700)
        if account is not None:
            account.own(path)
    except OSError as error:
        raise EmbeddedError(
            f"The folder {path} cannot be used ({error.strerror}): "
            "run as the user who owns it, or set WATCHER_HOME to another folder."
        ) from error
    return path


def socket_folder(data: Path, socket_name: str, account: Account) -> Path:
    """A private folder for an engine's socket: the data folder, or a short one when that path is too long.

    Raises EmbeddedError if the short one exists and belongs to another user, or another user could replace it.
    """
    if len(os.fsencode(data / socket_name)) <= MAX_SOCKET_PATH_BYTES:
        return data
    digest = hashlib.sha256(os.fsencode(data)).hexdigest()[:12]
    short = Path(tempfile.gettempdir()) / f"watcher-{account.uid}-{digest}"
    not_private = EmbeddedError(
        f"The folder {short} is not private to Watcher: remove it, or set WATCHER_HOME to a shorter path."
    )
    try:
        require_trusted_way(short)
    except EmbeddedError:
        raise not_private from None
    short.mkdir(mode=0o700, exist_ok=True)
    status = short.lstat()
    # Every user may write to the temporary folder: one who prepared this folder could enter the database.
    if short.is_symlink() or status.st_uid not in {os.geteuid(), account.uid} or status.st_mode & 0o077:
        raise not_private
    account.own(short)
    return short
