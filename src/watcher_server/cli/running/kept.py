"""Runs on disk: each has a file while it goes and until it is reported, so that no report is lost and none sent twice.

The wrapper holds a lock on the file of its run. A file without a lock is one that could not be reported, or that of a
wrapper that was killed. The next wrapper reports such runs, in the order in which they began.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

# Of a Watcher that is gone for good.
MOST_KEPT = 10_000


@dataclass
class Run:
    """A run of the command.

    ``to`` is where it is reported: a ping URL, or a server and the pipeline. ``end`` is what its end says, once there
    is one. Times are ISO 8601.
    """

    to: dict[str, Any]
    rid: str
    start_date: str
    parent_id: int | None = None
    end: dict[str, Any] | None = None


@dataclass
class KeptRun:
    """A run and its file, which is locked; without a file where none can be written."""

    run: Run
    path: Path | None = None
    file: "IO[str] | None" = field(default=None, repr=False)

    def save(self) -> None:
        """Write the run as it is now; what cannot be written is in memory still."""
        if self.file is None:
            return
        with contextlib.suppress(OSError):
            text = json.dumps(asdict(self.run)).encode()
            os.pwrite(self.file.fileno(), text, 0)
            os.ftruncate(self.file.fileno(), len(text))

    def forget(self) -> None:
        """It is reported."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
        self.release()

    def release(self) -> None:
        """Leave it to others."""
        if self.file is not None:
            self.file.close()
            self.file = None


def state_folder() -> Path:
    """The folder of the runs, below the user's state folder (XDG)."""
    base = os.environ.get("XDG_STATE_HOME", "")
    # The convention says to ignore a path that is not absolute.
    return (Path(base) if base.startswith("/") else Path("~/.local/state").expanduser()) / "watcher" / "runs"


def keep(run: Run) -> KeptRun:
    """A file for a run that begins, for this process alone; none where the folder cannot be written."""
    try:
        folder = state_folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for oldest in sorted(folder.glob("*.json"))[:-MOST_KEPT]:
            oldest.unlink(missing_ok=True)
        path = folder / f"{time.time_ns():020}-{run.rid}.json"
        # Under another name until it is locked and whole. It may hold a ping URL.
        new = path.with_suffix(".new")
        descriptor = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        file = os.fdopen(descriptor, "r+", encoding="utf-8")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        kept = KeptRun(run, path, file)
        kept.save()
        new.rename(path)
    except (OSError, RuntimeError):
        return KeptRun(run)
    return kept


@contextlib.contextmanager
def left_behind() -> Iterator[Iterator[KeptRun]]:
    """The runs of which no wrapper takes care, the first first; none while another process goes through them."""
    try:
        guard = (state_folder() / "lock").open("a")
    except (OSError, RuntimeError):
        yield iter(())
        return
    with guard:
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield iter(())
            return
        yield _unlocked()


def _unlocked() -> Iterator[KeptRun]:
    for path in sorted(state_folder().glob("*.json")):
        try:
            file = path.open("r+", encoding="utf-8")
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        try:
            run = Run(**json.loads(file.read()))
        except (ValueError, TypeError):
            # Half a file, of a machine that lost power.
            file.close()
            path.unlink(missing_ok=True)
            continue
        # Others may have reported it before the lock was taken.
        if path.exists():
            yield KeptRun(run, path, file)
        file.close()
