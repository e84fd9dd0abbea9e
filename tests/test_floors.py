"""Imports of the package go down only; `tools/floors.py` has the floors, lowest first."""

from pathlib import Path

from floors import FLOORS, PACKAGE, SRC, find_arrows, module_cycles, rising


def test_every_package_and_top_module_has_a_floor() -> None:
    names = {path.stem for path in (SRC / PACKAGE).iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert sorted(names - {"__init__"}) == sorted(set(FLOORS) & names)


def test_nothing_imports_what_stands_above_it() -> None:
    found = rising(find_arrows())
    assert not found, "\n".join(map(str, found))


def test_no_modules_import_each_other() -> None:
    assert module_cycles(find_arrows()) == []


def _short(module: str) -> str:
    return module.removeprefix(f"{PACKAGE}.")


class TestFinding:
    """On a package of a test's own."""

    def test_an_import_of_a_higher_floor_is_found(self, tmp_path: Path) -> None:
        _write(tmp_path, "kit/clock.py", "from watcher_server.auth import service\n")
        _write(
            tmp_path, "auth/service.py", "from watcher_server.kit.clock import now\nfrom watcher_server import kit\n"
        )
        assert _rising(tmp_path) == ["watcher_server.kit.clock:1 imports watcher_server.auth.service"]

    def test_where_the_import_stands_does_not_matter(self, tmp_path: Path) -> None:
        inside = "def now():\n    import watcher_server.auth.service\n"
        _write(tmp_path, "kit/clock.py", inside)
        _write(tmp_path, "auth/service.py", "")
        assert _rising(tmp_path) == ["watcher_server.kit.clock:2 imports watcher_server.auth.service"]

    def test_a_string_that_names_a_module_is_an_import(self, tmp_path: Path) -> None:
        _write(tmp_path, "kit/clock.py", 'CLOCK = "watcher_server.auth.service:Clock"\n')
        _write(tmp_path, "auth/service.py", 'FLOOR = "watcher_server.kit.clock"\n')
        assert _rising(tmp_path) == ["watcher_server.kit.clock:1 imports watcher_server.auth.service"]

    def test_a_package_without_a_floor_is_found(self, tmp_path: Path) -> None:
        _write(tmp_path, "cellar/wine.py", "from watcher_server.kit import clock\n")
        _write(tmp_path, "kit/clock.py", "")
        _write(tmp_path, "auth/service.py", 'GONE = "watcher_server.gone.service"\n')
        assert _rising(tmp_path) == [
            "watcher_server.auth.service:1 imports watcher_server.gone.service",
            "watcher_server.cellar.wine:1 imports watcher_server.kit.clock",
        ]

    def test_the_version_of_the_package_is_for_all(self, tmp_path: Path) -> None:
        _write(tmp_path, "kit/clock.py", "from watcher_server import __version__\n")
        assert _rising(tmp_path) == []

    def test_a_cycle_of_modules_is_found_within_a_floor_too(self, tmp_path: Path) -> None:
        for name, other in (("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")):
            _write(tmp_path, f"kit/{name}.py", f"from watcher_server.kit.{other} import anything\n")
        found = [[_short(module) for module in cycle] for cycle in module_cycles(find_arrows(tmp_path))]
        assert found == [["kit.a", "kit.b", "kit.c"]]


def _rising(src: Path) -> list[str]:
    return [str(arrow) for arrow in rising(find_arrows(src))]


def _write(src: Path, name: str, content: str) -> None:
    path = src / PACKAGE / name
    path.parent.mkdir(parents=True, exist_ok=True)
    for folder in (path.parent, path.parent.parent):
        (folder / "__init__.py").touch()
    path.write_text(content)
