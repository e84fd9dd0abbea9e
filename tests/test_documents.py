"""The documents: no picture that none shows, no link into nothing, no page that the index or the site forgets."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import reference
import site_pages
from typer.main import get_command

from watcher_server.app import create_app
from watcher_server.cli.main import app as commands
from watcher_server.incidents.kinds import Kind
from watcher_server.settings import load_settings

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
LINK = re.compile(r"\[[^]\n]*\]\(([^)\s]+)\)")
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "deploy").glob("*.md"), *(ROOT / ".github").rglob("*.md")]
)


def _anchors(document: Path) -> set[str]:
    prose = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", prose, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _links(document: Path) -> Iterator[str]:
    yield from (link for link in LINK.findall(document.read_text()) if not re.match(r"\w+:", link))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_leads_to_something(document: Path) -> None:
    for link in _links(document):
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in _anchors(target), link


def test_documents_show_every_picture() -> None:
    shown = {(document.parent / link).resolve() for document in DOCUMENTS for link in _links(document)}
    assert [file.name for file in sorted((DOCS / "images").iterdir()) if file not in shown] == []


def test_the_index_names_every_page() -> None:
    index = {(DOCS / link).resolve() for link in _links(DOCS / "README.md")}
    pages = {*DOCS.glob("*.md")} - {DOCS / "README.md"}
    assert sorted(page.name for page in pages - index) == []
    records = {*(DOCS / "decisions").glob("*.md")}
    assert sorted(page.name for page in records - index) == []


def test_the_site_has_every_page() -> None:
    placed = [page for pages in site_pages.NAV.values() for page in pages]
    documents = {page.name for page in DOCS.glob("*.md")} - {"README.md"}
    assert documents <= set(placed)
    assert len(placed) == len(set(placed))


def _command_names(command: Any, name: str) -> Iterator[str]:
    below = getattr(command, "commands", {})
    yield from (name,) if not below else ()
    for one in below.values():
        yield from _command_names(one, f"{name} {one.name}")


def test_the_site_has_every_command_with_every_option() -> None:
    page = "\n".join(reference.list_commands())
    names = list(_command_names(get_command(commands), "watcher"))
    assert len(names) > 10
    assert [name for name in names if f"## `{name}`" not in page] == []
    assert "--autoscale MAX,MIN" in page


def test_the_site_has_every_request_with_its_scope_and_example() -> None:
    page = "\n".join(reference.list_requests())
    document = create_app(load_settings()).openapi()
    for path, methods in document["paths"].items():
        for method in methods:
            assert f"## `{method.upper()} {path}`" in page
    for shape in document["components"]["schemas"]:
        assert f"## {shape}\n" in page
    assert page.count("Open to all.") == 3
    assert '"next_watermark": "2026-01-02"' in page


def test_the_site_and_the_page_on_monitoring_have_every_metric() -> None:
    rows = re.findall(r"^\| (`(?:watcher|celery)_.*?) \|", (DOCS / "monitoring.md").read_text(), flags=re.MULTILINE)
    told = set(re.findall(r"`([a-z_]+)`", " ".join(rows)))
    known = reference.find_metrics().keys()
    assert told <= known
    assert [name for name in known if f"`{name}`" not in (DOCS / "monitoring.md").read_text()] == []


async def test_the_site_has_every_metric_that_the_api_shows(client: httpx.AsyncClient) -> None:
    shown = re.findall(r"^# TYPE (\w+) ", (await client.get("/metrics")).text, flags=re.MULTILINE)
    assert len(shown) > 10
    assert set(shown) <= reference.find_metrics().keys()


def test_the_page_about_incidents_has_every_kind() -> None:
    told = re.findall(
        r"^\| `(\w+)` \| .* \| .* \| [A-Z, ]+ \|$", (DOCS / "incidents.md").read_text(), flags=re.MULTILINE
    )
    assert told == [kind.value for kind in Kind]
