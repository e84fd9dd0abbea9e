"""Groups of commands whose module is imported when one of them is called, so that `watcher --help` stays fast."""

from functools import cache
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_group


def new_group() -> typer.Typer:
    """A group for a module to add its commands to, under the name ``app``."""
    return typer.Typer(rich_markup_mode="markdown")


def later(module: str, **known: Any) -> typer.Typer:
    """The group that this module of ``watcher_server.cli`` has, of which only this is known before."""

    @cache
    def load() -> TyperGroup:
        return get_group(import_module(f"watcher_server.cli.{module}").app)

    class LaterGroup(TyperGroup):
        @property
        def commands(self) -> Any:
            return load().commands

        @commands.setter
        def commands(self, none: Any) -> None:
            """Typer knows none when it makes the group."""

    return typer.Typer(cls=LaterGroup, **known)
