import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest
from sqlalchemy import Engine

from watcher_server.cli.main import main


class Ended(NamedTuple):
    """How a command ended, and what it said."""

    status: int
    out: str
    error: str


Run = Callable[..., Ended]


@pytest.fixture
def run(engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """``watcher openlineage …``, in this process, on the database of the test."""

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["watcher", "openlineage", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return Ended(int(ended.value.code or 0), *capsys.readouterr())

    return run
