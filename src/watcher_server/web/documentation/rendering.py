"""A document as a part of a page: headings with anchors, links between documents, tables and lines to copy."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup, escape

from watcher_server.kit.errors import NotFoundError
from watcher_server.web.documentation.library import CONTENTS, documents

# Markup in a document stays text: the policy of the pages would forbid most of it.
_markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
_ELSEWHERE = re.compile(r"\w+:")


@dataclass(frozen=True)
class Document:
    """A document: its title, the anchor of that, and what follows it."""

    title: str
    anchor: str
    body: Markup


@lru_cache(maxsize=128)
def read_document(name: str) -> Document:
    """The document of that name. Raises NotFoundError: there is none."""
    if name not in documents():
        raise NotFoundError("There is no such page of the documentation.")
    source = documents()[name]
    tokens = _markdown.parse(source.read_text(encoding="utf-8"))
    # Each document begins with its title, which is the heading of the page.
    title, tokens = tokens[1], tokens[3:]
    body = _markdown.renderer.render(list(_lay_out(tokens, source)), _markdown.options, {})
    text = "".join(piece.content for piece in title.children or [])
    return Document(title=text, anchor=_anchor(title.content), body=Markup(body))  # noqa: S704 - markup of others is off


@lru_cache(maxsize=1)
def list_contents() -> list[tuple[str, str]]:
    """Name and title of the documents in reading order, the decisions left out, as the table of contents has them."""
    source = documents()[CONTENTS]
    found = []
    for line in _markdown.parse(source.read_text(encoding="utf-8")):
        children = line.children or []
        for link, text in pairwise(children):
            name = _name_of(str(link.attrs.get("href", "")).partition("#")[0], source)
            if link.type == "link_open" and name and not name.startswith("decisions/"):
                found.append((name, text.content))
    return found


def _lay_out(tokens: list[Token], source: Path) -> Iterator[Token]:
    """The tokens as our pages write them."""
    seen: Counter[str] = Counter()
    heading = ""
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        if token.type == "heading_open" and following is not None:
            heading = following.content
            anchor = _anchor(heading)
            token.attrSet("id", f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
            seen[anchor] += 1
        elif token.type == "inline":
            token.children = list(_lead_on(token.children or [], source))
        elif token.type in ("th_open", "td_open"):
            # The policy of the pages forbids the style that the parser writes.
            if "right" in str(token.attrs.pop("style", "")):
                token.attrSet("class", "number")
            if token.type == "th_open":
                token.attrSet("scope", "col")
        if token.type == "table_open":
            yield _markup(f'<div class="scroll" role="region" aria-label="Table: {escape(heading)}" tabindex="0">')
        if token.type in ("fence", "code_block"):
            label = escape(f"Lines of: {heading}" if heading else "Lines")
            lines = escape(token.content)
            yield _markup(f'<pre class="copied" tabindex="0" aria-label="{label}">{lines}</pre>\n')
        else:
            yield token
        if token.type == "table_close":
            yield _markup("</div>\n")


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _lead_on(pieces: list[Token], source: Path) -> Iterator[Token]:
    """The pieces of a line, with links to what is served here; other files and pictures are text."""
    leads = False
    for piece in pieces:
        if piece.type == "link_open":
            address = _address(str(piece.attrs["href"]), source)
            leads = address is not None
            piece.attrSet("href", address or "")
            if address and _ELSEWHERE.match(address):
                piece.attrSet("rel", "noreferrer noopener")
        if piece.type == "image":
            yield from (
                Token("em_open", "em", 1),
                Token("text", "", 0, content=f"Picture: {piece.content}"),
                Token("em_close", "em", -1),
            )
        elif leads or piece.type not in ("link_open", "link_close"):
            yield piece


def _address(target: str, source: Path) -> str | None:
    """Where a link of a document leads on our pages; None for a file that is not served."""
    if _ELSEWHERE.match(target) or target.startswith("#"):
        return target
    path, mark, anchor = target.partition("#")
    name = _name_of(path, source)
    if name is None:
        return None
    return f"/ui/documentation{'' if name == CONTENTS else f'/{name}'}{mark}{anchor}"


def _name_of(path: str, source: Path) -> str | None:
    file = (source.parent / path).resolve()
    return CONTENTS if file.name in ("docs", "decisions") else _names().get(file)


@lru_cache(maxsize=1)
def _names() -> dict[Path, str]:
    return {file.resolve(): name for name, file in documents().items()}


def _markup(content: str) -> Token:
    return Token("html_block", "", 0, content=content)
