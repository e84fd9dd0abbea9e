"""The command as it is printed for its user to type."""

import sys
from pathlib import Path

import pytest

from watcher_server.cli.program import program, typeable


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ``watcher`` in the environment of the folder that one is in."""
    monkeypatch.chdir(tmp_path)
    script = tmp_path / ".venv" / "bin" / "watcher"
    script.parent.mkdir(parents=True)
    script.touch(0o755)
    return script


def test_it_is_a_relative_path_from_where_one_is(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [".venv/bin/watcher", "up"])
    assert program() == ".venv/bin/watcher"
    monkeypatch.setattr(sys, "argv", [str(script), "up"])
    assert program() == ".venv/bin/watcher"
    assert typeable("run `watcher migrate` first") == "run `.venv/bin/watcher migrate` first"


def test_from_elsewhere_it_is_the_whole_path(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = script.parents[2] / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr(sys, "argv", [str(script)])
    assert program() == str(script)


def test_on_the_path_the_name_is_enough(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(script.parent))
    monkeypatch.setattr(sys, "argv", [str(script)])
    assert program() == "watcher"


def test_within_another_program_it_is_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/pytest"])
    assert typeable("run `watcher up`") == "run `watcher up`"
