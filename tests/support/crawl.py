"""Following what the pages of Watcher lead to."""

import re
from collections.abc import Iterable
from html import unescape
from urllib.parse import urlsplit

import httpx

from watcher_server.web.pages import LINKING

_LINK = re.compile(rf"""\s({"|".join(LINKING)})=["']([^"']*)["']""")


def links(page: str) -> set[tuple[str, str]]:
    """The attributes of a page that lead somewhere on this host, with their addresses without a fragment."""
    found = {(name, unescape(target).partition("#")[0]) for name, target in _LINK.findall(page)}
    return {(name, target) for name, target in found if target.startswith("/")}


def shape(target: str) -> str:
    """What an address has in common with others of its kind: no numbers, no ids, no values of its query."""
    parts = urlsplit(target)
    path = re.sub(r"/[0-9a-f-]{32,36}|/\d+", "/N", parts.path)
    return f"{path}?{'&'.join(sorted(re.findall('([^=&]+)=', parts.query)))}"


def crawl(client: httpx.Client, root: str, begin: Iterable[str]) -> tuple[set[str], list[str]]:
    """Ask for one address of each kind that can be reached; what kinds there were, and what is wrong with them.

    Where forms lead is not asked, for it might change something; nor where a button leads with the fields of its form.
    """
    waiting, seen, wrong = [("href", f"{root}{path}") for path in begin], set[str](), list[str]()
    while waiting:
        name, target = waiting.pop()
        if not target.startswith(f"{root}/") and target != root:
            wrong.append(f"{name}={target} leaves {root}")
            continue
        if shape(target) in seen:
            continue
        seen.add(shape(target))
        if name in {"action", "formaction", "hx-post"}:
            continue
        headers = {"Accept": "text/html", **({"HX-Request": "true"} if name.startswith("hx-") else {})}
        answer = client.get(target, headers=headers)
        if answer.status_code in {303, 307}:
            waiting.append(("location", answer.headers["location"]))
        elif answer.is_error:
            wrong.append(f"{name}={target} answered {answer.status_code}")
        elif answer.headers.get("content-type", "").startswith("text/html"):
            waiting += sorted(links(answer.text))
    return seen, wrong
