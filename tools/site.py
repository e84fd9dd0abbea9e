"""Builds the documentation as a site in build/site, from docs/ and the program itself: `make docs`.

The references of commands, requests and metrics are made from the code, so that none is left out. A broken link between
documents ends the build.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from reference import write_references
from site_pages import NAV, OUTSIDE

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build"
PAGES = BUILD / "pages"


def main() -> None:
    """Collect the pages, write the references, build."""
    shutil.rmtree(BUILD / "site", ignore_errors=True)
    shutil.rmtree(PAGES, ignore_errors=True)
    shutil.copytree(ROOT / "docs", PAGES, ignore=shutil.ignore_patterns("README.md"))
    for source, target in OUTSIDE.items():
        shutil.copy(ROOT / source, PAGES / target)
    for page in PAGES.rglob("*.md"):
        page.write_text(_relink(page))
    write_references(PAGES / "reference")
    decisions = sorted(f"decisions/{page.name}" for page in (PAGES / "decisions").glob("*.md"))
    _write_configuration({**NAV, "Decisions": decisions})
    command = [sys.argv[1], "build", "--strict", "--clean", "--config-file", str(BUILD / "zensical.toml")]
    done = subprocess.run(command, check=False)
    if done.returncode:
        sys.exit("The site was not built: see above.")
    print(f"The site is in {BUILD.relative_to(ROOT) / 'site'}: open index.html in it.")


def _relink(page: Path) -> str:
    """The page, with its links to documents as they lie on the site."""
    original = next((source for source, target in OUTSIDE.items() if PAGES / target == page), None)
    folder = (ROOT / original).parent if original else ROOT / "docs" / page.relative_to(PAGES).parent

    def relink(link: re.Match[str]) -> str:
        target, anchor = link[2], link[3] or ""
        if re.match(r"\w+:|#", target):
            return link[0]
        path = (folder / target).resolve()
        if not path.exists():
            sys.exit(f"{page.relative_to(PAGES)} links to {target}, which does not exist.")
        inside = path.relative_to(ROOT).as_posix()
        if inside in OUTSIDE:
            inside = OUTSIDE[inside]
        elif inside in {"docs", "docs/decisions"}:
            inside = OUTSIDE["docs/README.md"]
        elif inside.startswith("docs/"):
            inside = inside.removeprefix("docs/")
        else:
            # A file or folder of the repository that is no document.
            return f"{link[1][1:-2]}" if link[1].startswith("[") else link[0]
        up = "../" * len(page.relative_to(PAGES).parent.parts)
        return f"{link[1]}{up}{inside}{anchor})"

    return re.sub(r"(!?\[[^]\n]*\]\()([^)#\s]+)(#[^)\s]*)?\)", relink, page.read_text())


def _write_configuration(nav: dict[str, list[str]]) -> None:
    sections = ",\n".join(
        f'  {{ "{title}" = [{", ".join(f"{page!r}" for page in pages)}] }}'.replace("'", '"')
        for title, pages in nav.items()
    )
    (BUILD / "zensical.toml").write_text(
        f"""[project]
site_name = "Watcher"
site_description = "Knows what each data pipeline did, and tells people before their users do."
docs_dir = "pages"
site_dir = "site"
use_directory_urls = false
nav = [
{sections}
]
[project.theme]
# No font, and nothing else, from another host.
font = false
features = ["navigation.sections", "navigation.top", "content.code.copy", "search.highlight"]
[[project.theme.palette]]
media = "(prefers-color-scheme: light)"
scheme = "default"
[[project.theme.palette]]
media = "(prefers-color-scheme: dark)"
scheme = "slate"
"""
    )


if __name__ == "__main__":
    main()
