"""Which documents there are, and under which names.

The build of the package asks this module too, so it imports nothing of Watcher.
"""

from functools import cache
from pathlib import Path

CONTENTS = "contents"
_OUTSIDE_OF_DOCS = {
    "readme": "README.md",
    "changelog": "CHANGELOG.md",
    "contributing": "CONTRIBUTING.md",
    "releasing": "RELEASING.md",
    "reporting-a-vulnerability": "SECURITY.md",
    "deploy": "deploy/README.md",
}


@cache
def documents() -> dict[str, Path]:
    """The documents of the Watcher that runs, by the names that their addresses have.

    The package brings them in ``texts``; a checkout has them where they are written.
    """
    here = Path(__file__)
    packaged = here.parent / "texts"
    return find_documents(packaged if packaged.is_dir() else here.parents[4])


def find_documents(root: Path) -> dict[str, Path]:
    """The documents below a folder that is laid out as the repository is, by name."""
    docs = root / "docs"
    inside = {file.relative_to(docs).with_suffix("").as_posix(): file for file in sorted(docs.rglob("*.md"))}
    inside[CONTENTS] = inside.pop("README", docs / "README.md")
    outside = {name: root / path for name, path in _OUTSIDE_OF_DOCS.items()}
    return {name: file for name, file in (inside | outside).items() if file.is_file()}
