"""Text as a command prints it on a terminal."""

import shutil
import sys
from pathlib import Path


def program() -> str:
    """The command as its user can type it again: ``.venv/bin/watcher``, or ``watcher`` if the PATH has the same one."""
    started = Path(sys.argv[0])
    if started.name != "watcher":
        # Started as a module of Python, or within another program.
        return "watcher"
    found = shutil.which("watcher")
    if found is not None and Path(found).absolute() == started.absolute():
        return "watcher"
    path = started.absolute()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def typeable(sentence: str) -> str:
    """The sentence, with the commands that it advises as they can be typed here."""
    return sentence.replace("`watcher ", f"`{program()} ")
