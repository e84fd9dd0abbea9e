"""One Watcher per WATCHER_HOME."""

import fcntl
import os
import time
from pathlib import Path
from typing import Self
from weakref import WeakSet

from watcher_server.embedded.errors import EmbeddedError


class HomeLock:
    """An exclusive lock on a home folder; the system releases it when the process ends, however it ends."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._path = home / "run" / "lock"

    def __enter__(self) -> Self:
        """Take the lock; raises EmbeddedError, which names the process, if another one holds it."""
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        # `watcher status` and other commands hold the lock for an instant when they test it.
        deadline = time.monotonic() + 0.5
        while not _try(file, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                os.close(file)
                raise already_running(self._home)
            time.sleep(0.02)
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        self._file = file
        _held.add(self)
        return self

    def __exit__(self, *exception: object) -> None:
        _held.discard(self)
        os.close(self._file)


def already_running(home: Path) -> EmbeddedError:
    """The error that names the process which holds this home folder."""
    holder = (home / "run" / "lock").read_text(errors="replace").strip() or "unknown"
    return EmbeddedError(
        f"Watcher already runs on {home} (process {holder}): stop it first, or set WATCHER_HOME to another folder."
    )


def is_locked(home: Path) -> bool:
    """Whether a Watcher runs on this home folder."""
    try:
        file = os.open(home / "run" / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _try(file, fcntl.LOCK_SH)
    finally:
        os.close(file)


def _try(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


_held: "WeakSet[HomeLock]" = WeakSet()


def _leave_to_parent() -> None:
    # A forked child has the lock too, and would hold it beyond the end of a parent that was killed.
    for lock in list(_held):
        lock.__exit__()


os.register_at_fork(after_in_child=_leave_to_parent)
