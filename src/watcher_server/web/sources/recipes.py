"""How each tool is told to send its events: the lines, with the address of this Watcher."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from watcher_server.openlineage import EVENT_PATH

_TEXTS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


class Lines(NamedTuple):
    """Lines to copy, and where they go."""

    where: str
    text: str


class Recipe(NamedTuple):
    """What one tool needs."""

    key: str
    title: str
    about: str
    lines: Sequence[Lines]


def python_url(base: str) -> str:
    """The address for a Python client: it drops the last part of a path that does not end with a slash."""
    return f"{base}/" if _has_path(base) else base


def java_url(base: str) -> str:
    """The address for a Java client: it adds its own path to an address without one, and takes any other as it is."""
    return f"{base}{EVENT_PATH}" if _has_path(base) else base


def _has_path(base: str) -> bool:
    return "/" in base.partition("://")[2]


def recipes(base: str, token: str) -> Sequence[Recipe]:
    """The lines of each tool.

    Args:
        base: the address of this Watcher, without a slash at its end.
        token: that the lines show.
    """
    filled = {"url": python_url(base), "java": java_url(base), "post": f"{base}{EVENT_PATH}", "token": token}
    return [
        Recipe(**{**each, "lines": [Lines(part["where"], part["text"] % filled) for part in each["lines"]]})
        for each in _TEXTS["recipes"]
    ]


def trial(base: str, token: str) -> str:
    """A command that sends one event, of a run of the job ``trial`` in the namespace ``demo``."""
    text: str = _TEXTS["trial"]
    return text % {"post": f"{base}{EVENT_PATH}", "token": token}
