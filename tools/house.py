"""The shape of the code in figures. `python tools/house.py [REVISION]` puts those of a revision beside them.

Needs the standard library and git only. docs/house.md says what each figure counts.
"""

import ast
import io
import re
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from floors import FLOORS, PACKAGE, SRC, find_arrows, find_cycles, rising

# `tasking` was these packages once. Older revisions are measured with them, on the floors that they were on.
OLD_TASK_LAYER = ("rate_limits", "queueing", "task_history", "queue_monitor", "keeper")
OLD_WORKERS = "workers"
# These import the models of all packages, which would put every package into one cycle.
REGISTRIES = {f"{PACKAGE}.models", f"{PACKAGE}.database.models"}
LONGEST_FILES = 3

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Figures:
    """What is counted below one `src`."""

    lines: int = 0
    files: dict[str, int] = field(default_factory=dict)
    constants: int = 0
    constants_used_once: int = 0
    functions: int = 0
    functions_with_one_caller: int = 0
    lengths: list[int] = field(default_factory=list)
    hooks: Counter[str] = field(default_factory=Counter)
    rising: int = 0
    in_a_cycle: int = 0
    layer: dict[str, int] = field(default_factory=dict)


def measure(src: Path) -> Figures:
    """Count everything below a `src`."""
    figures = Figures()
    for path in sorted(src.rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        name = str(path.relative_to(src))
        figures.files[name] = source.count("\n")
        _count_names(figures, ast.parse(source))
    figures.lines = sum(figures.files.values())
    _count_arrows(figures, src)
    for folder in ("tasking", *OLD_TASK_LAYER, OLD_WORKERS):
        inside = [lines for name, lines in figures.files.items() if name.startswith(f"{PACKAGE}/{folder}/")]
        if inside:
            figures.layer[folder] = sum(inside)
    return figures


def _count_names(figures: Figures, tree: ast.Module) -> None:
    """Private names are counted at the top of a module, and used where the same module reads them."""
    read = Counter(node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load))
    constants = [name for name in _assigned(tree) if re.fullmatch(r"_[A-Z][A-Z0-9_]*", name)]
    private = [node.name for node in tree.body if isinstance(node, Function) and node.name.startswith("_")]
    figures.constants += len(constants)
    figures.constants_used_once += sum(read[name] == 1 for name in constants)
    figures.functions += len(private)
    figures.functions_with_one_caller += sum(read[name] == 1 for name in private)
    figures.lengths += [
        (node.end_lineno or node.lineno) - node.lineno + 1 for node in ast.walk(tree) if isinstance(node, Function)
    ]
    figures.hooks.update(_hooks(tree))


def _assigned(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        for target in targets:
            yield from (name.id for name in ast.walk(target) if isinstance(name, ast.Name))


def _hooks(tree: ast.Module) -> Iterator[str]:
    """The classes that derive from one of Celery's, and the signals of Celery that are listened to."""
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and re.match(r"(celery|kombu|billiard)\b", node.module or "")
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            bases = {ast.unparse(base).partition(".")[0] for base in node.bases}
            yield from ["classes"] * bool(bases & imported)
        elif isinstance(node, ast.Attribute) and node.attr == "connect":
            yield from ["signals"] * (ast.unparse(node.value).partition(".")[0] in imported)


def _count_arrows(figures: Figures, src: Path) -> None:
    """Between packages; two packages are one arrow, however many imports lead from one to the other."""
    arrows = find_arrows(src)
    figures.rising = len({arrow.floors for arrow in rising(arrows, _floors())})
    targets: dict[str, set[str]] = {}
    for arrow in arrows:
        if arrow.module not in REGISTRIES:
            below, above = arrow.floors
            targets.setdefault(below, set()).add(above)
    figures.in_a_cycle = max(map(len, find_cycles(targets)), default=0)


def _floors() -> tuple[str, ...]:
    """The floors with those of the former packages."""
    tasking, models = FLOORS.index("tasking"), FLOORS.index("models")
    return (*FLOORS[:tasking], *OLD_TASK_LAYER, *FLOORS[tasking:models], OLD_WORKERS, *FLOORS[models:])


def rows(figures: Figures) -> dict[str, str]:
    """The lines of the table, by their titles."""
    lengths = sorted(figures.lengths)
    percentiles = [str(lengths[int(share * (len(lengths) - 1))]) for share in (0.5, 0.9, 0.99)]
    written = {name: lines for name, lines in figures.files.items() if "/versions/" not in name}
    longest = sorted(written, key=lambda name: (-written[name], name))[:LONGEST_FILES]
    return {
        "lines of Python in src": f"{figures.lines:,}",
        "private constants per 1,000 lines": f"{1_000 * figures.constants / figures.lines:.1f}",
        "private constants used once": f"{figures.constants_used_once} of {figures.constants}",
        "private functions with one caller": f"{figures.functions_with_one_caller} of {figures.functions}",
        "arrows between packages that lead up": str(figures.rising),
        "packages in the largest cycle": str(figures.in_a_cycle),
        "classes derived from Celery's": str(figures.hooks["classes"]),
        "signals of Celery listened to": str(figures.hooks["signals"]),
        "packages of the task layer": str(len(figures.layer)),
        "lines of the task layer": f"{sum(figures.layer.values()):,}",
        "lines per function: median, 90%, 99%": ", ".join(percentiles),
        "longest files but migrations": f"{written[longest[0]]} {_short(longest[0])}",
        **{" " * place: f"{written[name]} {_short(name)}" for place, name in enumerate(longest[1:], start=1)},
    }


def _short(name: str) -> str:
    return name.removeprefix(f"{PACKAGE}/")


def measure_revision(revision: str) -> Figures:
    """The same of a revision of this repository."""
    archive = subprocess.run(
        ["git", "archive", revision, "src"],  # noqa: S607 - git lies elsewhere on other systems
        cwd=SRC.parent,
        stdout=subprocess.PIPE,
        check=True,
    )
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
        return measure(Path(folder, "src"))


def main() -> None:
    """Print the table: the revisions that are named, then what is here now."""
    columns = {revision: rows(measure_revision(revision)) for revision in sys.argv[1:]} | {"now": rows(measure(SRC))}
    table = [["", *columns], *([title, *(found[title] for found in columns.values())] for title in columns["now"])]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    main()
