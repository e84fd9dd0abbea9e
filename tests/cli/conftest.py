from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.commands import Watcher, free_port
from tests.embedded.homes import temporary_home


@pytest.fixture
def home() -> Iterator[Path]:
    with temporary_home() as home:
        yield home


@pytest.fixture
def watcher(home: Path, tmp_path: Path) -> Iterator[Watcher]:
    watcher = Watcher(home, free_port(), tmp_path)
    yield watcher
    watcher.kill_all()
