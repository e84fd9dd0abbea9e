"""The figures of `tools/house.py`, counted on a package that fits on a page."""

from pathlib import Path

from house import Figures, measure, rows

MODULE = """
from celery import Task, signals
from watcher_server.auth import service

_ONCE, _TWICE = 1, 2
_NEVER: int = 3
PUBLIC = 4


class Own(Task):
    def run(self):
        return _ONCE + _TWICE + _called_once() + _called_twice()


def _called_once():
    return _called_twice()


def _called_twice():
    _TWICE = 5
    return service


signals.task_prerun.connect(_TWICE)
"""


def _measure(src: Path) -> Figures:
    package = src / "watcher_server"
    for name, content in (("kit/clock.py", MODULE), ("auth/service.py", 'CLOCK = "watcher_server.kit.clock"\n')):
        (package / name).parent.mkdir(parents=True)
        (package / name).write_text(content)
    return measure(src)


def test_names_functions_hooks_and_arrows_are_counted(tmp_path: Path) -> None:
    figures = _measure(tmp_path)
    assert (figures.constants, figures.constants_used_once) == (3, 1)
    assert (figures.functions, figures.functions_with_one_caller) == (2, 1)
    assert figures.hooks == {"classes": 1, "signals": 1}
    assert (figures.rising, figures.in_a_cycle) == (1, 2)
    assert sorted(figures.lengths) == [2, 2, 3]


def test_the_table_names_the_longest_files_first(tmp_path: Path) -> None:
    table = rows(_measure(tmp_path))
    lines = MODULE.count("\n")
    assert table["lines of Python in src"] == str(lines + 1)
    assert table["longest files but migrations"] == f"{lines} kit/clock.py"
