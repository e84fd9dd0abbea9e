"""Whether other users of the machine could change what is in WATCHER_HOME.

Watcher runs programs, opens sockets and reads URLs from there, often as root. Another user who can write the folder, or
rename one above it, would decide what Watcher runs.
"""

import grp
import os
import pwd
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from watcher_server.embedded.account import ENGINE_USER
from watcher_server.embedded.errors import EmbeddedError

# As many links as Linux follows.
_MOST_LINKS = 40


def require_trusted_home(home: Path) -> Path:
    """The absolute path of WATCHER_HOME, which does not have to exist yet; nothing in it is read or written.

    The home, Watcher's folders in it and every file in ``run``, ``logs`` and ``engines`` must belong to root or to this
    process's user, and no other user may be able to write the folders. Above the home, a folder that others may write
    is accepted if it is sticky, as ``/tmp`` is, because there they cannot rename what is not theirs.
    Raises EmbeddedError if another user could change something; the message says which folder, and what to do.
    """
    home = home.absolute()
    own_users = {0, os.geteuid()}
    _require_trusted(home, own_users)
    for name in ("run", "logs", "engines"):
        _require_trusted(home / name, own_users)
        for entry in _entries(home / name):
            _require_owner(entry, own_users)
    # In root's home these belong to the system user that the engines run as.
    for name in ("postgres", "postgres.new", "valkey"):
        _require_trusted(home / name, own_users | _engine_users())
    return home


def require_trusted_way(path: Path) -> None:
    """Raise an EmbeddedError that names the folder, if another user could replace a folder above this path."""
    for passed, _ in _passed(path.absolute().parent):
        _require_trusted_parent(passed)


def _require_trusted(folder: Path, owners: set[int]) -> None:
    for path, is_last in _passed(folder):
        if not is_last:
            _require_trusted_parent(path)
            continue
        _require_owner(path, owners)
        if path.lstat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            _refuse_writable(path)


def _require_trusted_parent(path: Path) -> None:
    status = path.lstat()
    # Who owns / decides about everything: in a container without root it may be another user than root.
    if status.st_uid not in {0, os.geteuid(), Path("/").stat().st_uid}:
        raise EmbeddedError(
            f"{path} belongs to {_user(status.st_uid)}, who could replace what is below it: "
            "set WATCHER_HOME to a folder whose parents belong to root or to you."
        )
    if stat.S_ISDIR(status.st_mode) and _others_may_rename(status):
        _refuse_writable(path)


def _require_owner(path: Path, owners: set[int]) -> None:
    owner = path.lstat().st_uid
    if owner not in owners:
        me = _user(os.geteuid())
        raise EmbeddedError(
            f"{path} belongs to {_user(owner)}, who could change what Watcher runs as {me}: set WATCHER_HOME to a "
            f"folder of your own, or, if you know what is in it, `chown -R {me} {shlex.quote(str(path))}`."
        )


def _refuse_writable(path: Path) -> NoReturn:
    raise EmbeddedError(
        f"Other users may write to {path} and could change what Watcher runs: "
        f"`chmod go-w {shlex.quote(str(path))}`, or set WATCHER_HOME to another folder."
    )


def _others_may_rename(status: os.stat_result) -> bool:
    if status.st_mode & stat.S_ISVTX:
        return False
    if status.st_mode & stat.S_IWGRP and not _is_private_group(status.st_gid):
        return True
    return bool(status.st_mode & stat.S_IWOTH)


def _is_private_group(gid: int) -> bool:
    """Whether this user alone is in the group, as where each user gets a group of the same name and umask 002."""
    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    return user.pw_uid != 0 and group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def _passed(path: Path) -> Iterator[tuple[Path, bool]]:
    """Each folder and symbolic link on the way to ``path``, and whether it is the path's own folder.

    It ends at the first that does not exist or cannot be looked at: nothing behind it can be used either.
    Raises EmbeddedError if there are too many links.
    """
    ahead, here, links = list(reversed(path.parts[1:])), Path(path.anchor), 0
    yield here, not ahead
    while ahead:
        part = ahead.pop()
        here = here.parent if part == ".." else here / part
        try:
            is_link = stat.S_ISLNK(here.lstat().st_mode)
        except OSError:
            return
        yield here, not ahead and not is_link
        if is_link:
            links += 1
            if links > _MOST_LINKS:
                raise EmbeddedError(f"{path} leads through too many symbolic links: set WATCHER_HOME to a folder.")
            target = here.readlink()
            ahead += reversed(target.parts[1:] if target.is_absolute() else target.parts)
            here = Path(target.anchor) if target.is_absolute() else here.parent


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        # It is missing, or root's: then this process reads nothing in it either.
        return []


def _engine_users() -> set[int]:
    try:
        return {pwd.getpwnam(ENGINE_USER).pw_uid}
    except KeyError:
        return set()


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
