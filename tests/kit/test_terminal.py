"""Text as a command prints it on a terminal."""

import sys
from pathlib import Path

import pytest

from watcher_server.kit.terminal import program, typeable
from watcher_server.kit.text import escape_controls


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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Zürich, 東京, [bold] ✓", "Zürich, 東京, [bold] ✓"),
        ("\x1b]0;owned\x07", r"\x1b]0;owned\x07"),
        ("\x9b31m red", r"\x9b31m red"),
        ("over\rwritten\b", r"over\rwritten\x08"),
        ("two\nlines\tand a tab", r"two\nlines\tand a tab"),
        ("right to left \u202e", r"right to left \u202e"),
        ("half \ud800", r"half \ud800"),
    ],
)
def test_characters_that_steer_a_terminal_are_escaped(text: str, shown: str) -> None:
    assert escape_controls(text) == shown


def test_a_text_of_several_lines_keeps_them() -> None:
    assert escape_controls("two\nlines\tand \x1b[2J", keep_layout=True) == "two\nlines\tand \\x1b[2J"
