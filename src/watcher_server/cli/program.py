"""How this command is typed where its user is."""

import shutil
import sys
from pathlib import Path

_NAME = "watcher"


def program() -> str:
    """The command as it can be typed again: ``.venv/bin/watcher``, or ``watcher`` where that finds the same one."""
    started = Path(sys.argv[0])
    if started.name != _NAME:
        # Started as a module of Python, or within another program.
        return _NAME
    found = shutil.which(_NAME)
    if found is not None and Path(found).absolute() == started.absolute():
        return _NAME
    path = started.absolute()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def typeable(sentence: str) -> str:
    """The sentence, with the commands that it advises as they can be typed here."""
    return sentence.replace(f"`{_NAME} ", f"`{program()} ")
