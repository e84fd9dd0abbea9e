"""The floors: a package imports only what stands before it in ``FLOORS``. `python tools/floors.py [SRC]` checks it."""

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

PACKAGE = "watcher_server"
SRC = Path(__file__).parents[1] / "src"

# Lowest first.
FLOORS = (
    "kit",
    "settings_files",
    "settings_urls",
    "settings",
    "telemetry",
    "database",
    "http",
    "audit",
    "auth",
    "tasking",
    "schedules",
    "alerts",
    "pipelines",
    "addresses",
    "executions",
    "lineage",
    "incidents",
    "anomalies",
    "freshness",
    "timeliness",
    "missed_runs",
    "registration",
    "config_file",
    "pings",
    "dbt",
    "openlineage",
    "reporting",
    "retention",
    "archive",
    "models",
    "health",
    "metrics",
    "diagnostics",
    "mcp_server",
    "web",
    "celery_tasks",
    "celery_app",
    "app",
    "embedded",
    "demo",
    "cli",
)


class Arrow(NamedTuple):
    """An import, or a string that names a module: from a line of one module to another module."""

    module: str
    line: int
    target: str

    @property
    def floors(self) -> tuple[str, str]:
        """The floors that it leads from and to; "" is the package itself."""
        return floor_of(self.module), floor_of(self.target)

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


def floor_of(module: str) -> str:
    """The second part of a module's name: "auth" of "watcher_server.auth.routes"."""
    return module.split(".")[1] if "." in module else ""


def find_arrows(src: Path = SRC) -> list[Arrow]:
    """Every arrow between two modules of the package below ``src``, in order of modules and lines.

    Migrations are left out: Alembic loads them by their path, and they import nothing of the package.
    """
    paths = {
        ".".join(path.relative_to(src).with_suffix("").parts).removesuffix(".__init__"): path
        for path in src.rglob("*.py")
        if "versions" not in path.parts
    }
    arrows = {
        Arrow(module, line, _module(name, paths))
        for module, path in paths.items()
        for line, name in _names(ast.parse(path.read_text(encoding="utf-8")))
    }
    return sorted(arrow for arrow in arrows if arrow.target not in {arrow.module, PACKAGE})


def _names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """What a file imports of the package, and its strings that name something of it, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found = [node.value.replace(":", ".")]
        else:
            continue
        yield from ((node.lineno, name) for name in found if name.startswith(f"{PACKAGE}."))


def _module(name: str, modules: Iterable[str]) -> str:
    """The module that a name lies in. A name of no module stays, so that its floor is unknown."""
    if floor_of(name).startswith("__"):
        return PACKAGE
    found = name
    while found and found not in modules:
        found = found.rpartition(".")[0]
    return name if found in {"", PACKAGE} else found


def rising(arrows: Iterable[Arrow], floors: tuple[str, ...] = FLOORS) -> list[Arrow]:
    """The arrows that lead upwards, and those from or to a package that is not among the floors."""
    level = {floor: number for number, floor in enumerate(floors)}
    found = []
    for arrow in arrows:
        below, above = arrow.floors
        known = below in level and above in level
        if below and (not known or level[above] > level[below]):
            found.append(arrow)
    return found


def find_cycles(targets: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """The groups of names that reach each other (strongly connected components, by Tarjan's algorithm)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    cycles: list[list[str]] = []

    def visit(name: str) -> None:
        number[name] = lowest[name] = len(number)
        path.append(name)
        for target in targets.get(name, ()):
            if target not in number:
                visit(target)
            if target in path:
                lowest[name] = min(lowest[name], lowest[target])
        if lowest[name] == number[name]:
            group = path[path.index(name) :]
            del path[path.index(name) :]
            if len(group) > 1:
                cycles.append(sorted(group))

    for name in targets:
        if name not in number:
            visit(name)
    return sorted(cycles)


def module_cycles(arrows: Iterable[Arrow]) -> list[list[str]]:
    """The groups of modules that import each other."""
    targets: dict[str, list[str]] = {}
    for arrow in arrows:
        targets.setdefault(arrow.module, []).append(arrow.target)
    return find_cycles(targets)


def main() -> None:
    """Print what breaks the rules; the exit status is 1 when something does."""
    arrows = find_arrows(Path(sys.argv[1]) if len(sys.argv) > 1 else SRC)
    found = [f"{arrow} (upwards)" for arrow in rising(arrows)]
    found += [f"a cycle: {', '.join(cycle)}" for cycle in module_cycles(arrows)]
    print(*found, sep="\n")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
