"""A full disk, told from the other reasons why something fails."""

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path

from watcher_server.embedded.errors import EmbeddedError


def full_disk(home: Path, error: BaseException) -> EmbeddedError | None:
    """The sentence for an error that came of a full disk under WATCHER_HOME; None for any other error."""
    said = os.strerror(errno.ENOSPC) in f"{error} {error.__cause__}"
    if not said:
        with suppress(OSError):
            # With less than this the engines cannot start.
            said = shutil.disk_usage(home).free < 1024 * 1024
    if not said:
        return None
    return EmbeddedError(
        f"No space is left on the disk of {home}: free some and start again, or set WATCHER_HOME to a folder on "
        "another disk. What was answered with success is kept."
    )
