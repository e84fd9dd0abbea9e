"""The documentation on the pages."""

import re
import zipfile
from pathlib import Path

import httpx
import pytest
from hatchling.builders.wheel import WheelBuilder
from sqlalchemy import Engine

from tests.auth.test_access import make_token
from tests.conftest import MakeClient
from watcher_server.web.documentation.library import documents, find_documents

HTML = {"Accept": "text/html"}
ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "src" / "watcher_server" / "web" / "templates"


def _anchors(page: str) -> set[str]:
    return set(re.findall(r'\sid="([^"]+)"', page))


async def test_every_document_is_a_page_whose_links_lead_to_documents_and_their_headings(
    client: httpx.AsyncClient,
) -> None:
    names = documents().keys()
    assert {"contents", "readme", "changelog", "runs", "decisions/0001-hot-path-in-one-statement"} <= names
    pages = {f"/ui/documentation/{name}": await client.get(f"/ui/documentation/{name}", headers=HTML) for name in names}
    pages["/ui/documentation"] = await client.get("/ui/documentation", headers=HTML)
    assert [path for path, page in pages.items() if page.status_code != 200] == []
    anchors = {path: _anchors(page.text) for path, page in pages.items()}
    for path, page in pages.items():
        written = page.text.partition("<article")[2].partition("</article>")[0]
        assert page.text.count("<h1") == 1
        assert not re.search(r"<img|<style|\sstyle=", page.text)
        for link in re.findall(r'href="([^"]*)"', written):
            assert re.match(r"https?://|mailto:|#|/ui/documentation", link), (path, link)
            target, _, anchor = (path + link if link.startswith("#") else link).partition("#")
            if target.startswith("/"):
                assert target in pages, (path, link)
                assert not anchor or anchor in anchors[target], (path, link)


async def test_a_document_has_its_tables_lines_to_copy_and_the_alt_text_of_its_pictures(
    client: httpx.AsyncClient,
) -> None:
    page = (await client.get("/ui/documentation/pages", headers=HTML)).text
    assert "<em>Picture: The overview</em>" in page
    assert '<th scope="col">page</th>' in page
    assert '<pre class="copied"' in (await client.get("/ui/documentation/ways-in", headers=HTML)).text


@pytest.mark.parametrize(
    "name",
    ["nothing", "../../pyproject.toml", "..%2f..%2fpyproject.toml", "%2fetc%2fpasswd", "runs.md", "decisions", "a%00b"],
)
async def test_what_is_no_document_is_not_found(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.get(f"/ui/documentation/{name}", headers=HTML)
    assert answer.status_code == 404
    assert "[project]" not in answer.text


async def test_under_a_path_documents_lead_to_each_other_there(make_client: MakeClient) -> None:
    async with make_client(public_url="https://example.com/watcher") as client:
        page = (await client.get("/watcher/ui/documentation", headers=HTML)).text
        assert 'href="/watcher/ui/documentation/runs"' in page
        assert 'href="/ui' not in page


async def test_a_stranger_is_asked_to_log_in_first(make_client: MakeClient, engine: Engine) -> None:
    make_token(engine)
    async with make_client() as client:
        answer = await client.get("/ui/documentation/runs", headers=HTML)
        assert answer.headers["location"] == "/login?next=/ui/documentation/runs"


def test_what_pages_call_by_name_is_a_document() -> None:
    text = "\n".join(file.read_text() for file in TEMPLATES.rglob("*.html"))
    named = {*re.findall(r'document="([^"]+)"', text), *re.findall(r'"/ui/documentation/([\w/-]+)', text)}
    assert len(named) > 5
    assert named <= documents().keys()


def test_the_package_brings_every_document_and_no_picture(tmp_path: Path) -> None:
    built = next(WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"]))
    with zipfile.ZipFile(built) as wheel:
        texts = [name for name in wheel.namelist() if "/documentation/texts/" in name]
        wheel.extractall(tmp_path, texts)
    brought = find_documents(tmp_path / "watcher_server" / "web" / "documentation" / "texts")
    assert brought.keys() == find_documents(ROOT).keys()
    assert {Path(text).suffix for text in texts} == {".md"}
