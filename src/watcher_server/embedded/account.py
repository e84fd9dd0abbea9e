"""The user that the engines run as, and the folders that this user can enter."""

import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from watcher_server.embedded.errors import EmbeddedError

ENGINE_USER = "watcher"


@dataclass(frozen=True)
class Account:
    """The user and group that engine processes run as.

    ``switches`` is true if that is not the user of this process: root runs the engines as a system user, because
    PostgreSQL refuses to run as root.
    """

    uid: int
    gid: int
    switches: bool

    def own(self, path: Path) -> None:
        """Give a path inside WATCHER_HOME to this account."""
        if self.switches:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def can_enter(self, folder: Path) -> bool:
        """Whether this account may pass through a folder, judged by the folder's mode bits alone."""
        status = folder.stat()
        if status.st_uid == self.uid:
            return bool(status.st_mode & stat.S_IXUSR)
        if status.st_gid == self.gid:
            return bool(status.st_mode & stat.S_IXGRP)
        return bool(status.st_mode & stat.S_IXOTH)

    def first_closed_folder(self, path: Path) -> Path | None:
        """The outermost folder on the way to ``path``, itself included, that this account may not enter."""
        if not self.switches:
            return None
        resolved = path.resolve()
        folders = [*reversed(resolved.parents), resolved]
        return next((folder for folder in folders if folder.is_dir() and not self.can_enter(folder)), None)


def command_with_a_name(command: list[str | Path], account: Account) -> list[str | Path]:
    """The command for a program that looks up the name of its user, as initdb does.

    A user id without an account, as containers have it, is shown to the program as that of a system user: in a user
    namespace, where that is allowed. Files still belong to the id itself.
    """
    unshare = shutil.which("unshare", path="/usr/bin:/bin")
    if has_name(account) or unshare is None:
        return command
    shown = next((user for user in pwd.getpwall() if user.pw_uid != 0), None)
    if shown is None:
        return command
    return [unshare, "--user", f"--map-user={shown.pw_uid}", f"--map-group={shown.pw_gid}", *command]


def has_name(account: Account) -> bool:
    """Whether the account's user id is that of a user with a name."""
    try:
        return bool(pwd.getpwuid(account.uid).pw_name)
    except KeyError:
        return False


def own_account() -> Account:
    """The user of this process."""
    return Account(os.geteuid(), os.getegid(), switches=False)


def engine_account() -> Account:
    """The account for the engines: this process's own, or as root the system user ``watcher``.

    Raises EmbeddedError if the system user does not exist and cannot be created.
    """
    if os.geteuid() != 0:
        return own_account()
    try:
        entry = pwd.getpwnam(ENGINE_USER)
    except KeyError:
        entry = _create_system_user()
    if entry.pw_uid == 0:
        raise EmbeddedError(
            f"The system user {ENGINE_USER} is root, which PostgreSQL refuses: give it a user id of its own, "
            "or set WATCHER_DATABASE_URL."
        )
    return Account(entry.pw_uid, entry.pw_gid, switches=True)


def _create_system_user() -> pwd.struct_passwd:
    useradd = shutil.which("useradd", path="/usr/sbin:/usr/bin:/sbin:/bin")
    advice = (
        f"PostgreSQL does not run as root and the system user {ENGINE_USER} could not be created: "
        "create it, run as another user, or set WATCHER_DATABASE_URL and WATCHER_BROKER_URL"
    )
    if useradd is None:
        raise EmbeddedError(f"{advice}.")
    command = [useradd, "--system", "--user-group", "--no-create-home", ENGINE_USER]
    # S603: a fixed command, found in system folders only.
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return pwd.getpwnam(ENGINE_USER)
    except KeyError:
        raise EmbeddedError(f"{advice} ({made.stderr.strip()}).") from None
