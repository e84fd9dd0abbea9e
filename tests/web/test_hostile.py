"""Whatever a browser is made to send, no page breaks, repeats it as markup, or leads away from Watcher."""

import re
from collections.abc import Iterator
from urllib.parse import quote, urlencode

import httpx
import pytest
from sqlalchemy import Engine

from tests.support.hostile import MARKUP, RAW, Ids, add_hostile_scene
from tests.support.page_routes import PageRoute, page_routes
from watcher_server.app import create_app
from watcher_server.settings import load_settings

ROUTES = page_routes(create_app(load_settings(relay_enabled=False)))
POSTS = [route for route in ROUTES if route.method == "POST"]
HTML = {"Accept": "text/html"}
PART = {"HX-Request": "true"}
FORM = "application/x-www-form-urlencoded"
LEADING = ("location", "hx-redirect", "hx-replace-url")

# As they stand in an address or a form.
LINE_END = quote("\r\nX-Injected: yes ☃")
VALUES = (
    "",
    "%00",
    "%ED%A0%80",
    "%FF",
    "-1",
    str(2**63),
    "9" * 5_000,
    "1e400",
    "9999-12-31T23:59:59Z",
    quote(MARKUP, safe=""),
    "//evil.test",
    quote("/\\evil.test"),
    f"/ui/{LINE_END}",
    f"/ui/tasks?{LINE_END}",
    f"/ui/pipelines?{LINE_END}",
)
# Of each form the fields without which nothing else is looked at.
FILLED = {
    "/ui/incidents/bulk": {"choice": "acknowledge-1h", "selected": "1.1"},
    "/ui/incidents/{incident_id}/change": {"choice": "snooze-time", "version": "1", "at": "2090-01-01T00:00"},
    "/ui/incidents/{incident_id}/comment": {"text": "I look at it"},
    "/ui/pipelines/bulk": {"action": "mute", "selected": "1"},
    "/ui/pipelines/{pipeline_id}/edit": {"original": "{}", "freshness_number": "3", "freshness_datepart": "day"},
    "/ui/pipelines/{pipeline_id}/accept": {"execution_id": "12", "metric": "total_rows"},
    "/ui/pipelines/{pipeline_id}/unflag": {"execution_id": "12", "metric": "total_rows"},
    "/ui/pipelines/{pipeline_id}/rules": {"metric_field": "inserts"},
    "/ui/tasks/limits/set": {"task": "detect_anomalies_task", "limit": "5/s"},
    "/ui/tasks/limits/reset": {"task": "detect_anomalies_task"},
}
BODIES = (
    (None, b"a=1"),
    ("application/json", b'{"a": [1]}'),
    ("application/json", b"[[["),
    ("text/plain", b"\xff\xfe"),
    (FORM, b"\xff=\xff&\0=\0&&=&a"),
    ("multipart/form-data", b"x"),
    ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--"),
)
# With an address to look from: without one, the rest of the view is not read.
LOOKING_FROM = "source_address_id=1&"
TABS = tuple(
    f"tab={tab}&" for tab in ("charts", "runs", "watermarks", "rules", "lineage", "incidents", "alerts", "ping")
)


@pytest.fixture
def ids(engine: Engine) -> Ids:
    with engine.begin() as connection:
        return add_hostile_scene(connection)


def _check(answer: httpx.Response) -> None:
    asked = f"{answer.request.method} {answer.request.url!s:.200}: {answer.status_code}"
    assert answer.status_code < 500, asked
    for name in LEADING:
        target = answer.headers.get(name, "/").removeprefix("http://localhost")
        assert re.match(r"/(?![/\\])", target), f"{asked} {name}"
    for name, value in answer.headers.items():
        assert value.isprintable(), f"{asked} {name}"
    if answer.headers.get("content-type", "").startswith("text/html"):
        assert [raw for raw in RAW if raw in answer.text] == [], asked


def _contexts(route: PageRoute, name: str) -> tuple[str, ...]:
    if route.path == "/ui/pipelines/{pipeline_id}":
        return TABS
    return (LOOKING_FROM,) if route.path.startswith("/lineage-graph") and name != "source_address_id" else ("",)


def _queries(route: PageRoute) -> Iterator[str]:
    for name in route.query:
        for context in _contexts(route, name):
            yield from (f"{context}{name}={value}" for value in VALUES)
            yield f"{context}{name}=1&{name}=2&{name}[]=3"


@pytest.mark.parametrize("route", ROUTES, ids=str)
async def test_no_address_breaks_a_page(client: httpx.AsyncClient, ids: Ids, route: PageRoute) -> None:
    for headers in (HTML, HTML | PART):
        _check(await client.request(route.method, route.at(**ids), headers=headers))
    for name in re.findall(r"{(\w+)", route.path):
        for value in (*VALUES, "a" * 60_000, "%0d%0a"):
            _check(await client.request(route.method, route.at(**{**ids, name: value}), headers=HTML))
    for query in _queries(route):
        _check(await client.request(route.method, f"{route.at(**ids)}?{query}", headers=HTML))


@pytest.mark.parametrize("route", ROUTES, ids=str)
async def test_no_method_or_header_breaks_a_page(client: httpx.AsyncClient, ids: Ids, route: PageRoute) -> None:
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"):
        _check(await client.request(method, route.at(**ids), headers=HTML))
    odd = (
        ("Host", b"["),
        ("Host", b"a b@evil.test/x"),
        ("HX-Current-URL", b"http://[\xff"),
        ("Cookie", b"watcher_session=\xff\xfe; =;;"),
        ("Content-Type", b"multipart/form-data; boundary=" + b"b" * 300),
    )
    for name, value in odd:
        headers = {b"Accept": b"text/html", name.encode(): value}
        answer = await client.request(route.method, route.at(**ids), headers=headers)
        assert answer.status_code < 500, (name, value)


@pytest.mark.parametrize("route", POSTS, ids=str)
async def test_no_form_breaks_a_page(client: httpx.AsyncClient, ids: Ids, route: PageRoute) -> None:
    filled = FILLED.get(route.path, {})
    for name in route.form:
        others = urlencode({field: value for field, value in filled.items() if field != name})
        # These may end up in the header that says where to go.
        for headers in (HTML, HTML | PART) if name in {"back", "name", "next", "choice"} else (HTML,):
            for value in (*VALUES, "a" * 100_000, f"1&{name}=2"):
                body = f"{others}&{name}={value}"
                _check(await client.post(route.at(**ids), content=body, headers={**headers, "Content-Type": FORM}))


@pytest.mark.parametrize("route", POSTS, ids=str)
async def test_no_other_body_breaks_a_page(client: httpx.AsyncClient, ids: Ids, route: PageRoute) -> None:
    for kind, content in BODIES:
        headers = HTML if kind is None else {**HTML, "Content-Type": kind}
        _check(await client.post(route.at(**ids), content=content, headers=headers))
    filled = FILLED.get(route.path, {})
    for name in route.form:
        # In these charsets, half of a pair of surrogates can be written.
        for charset in ("raw_unicode_escape", "utf-7", "no such charset"):
            body = _multipart({**filled, name: "\\ud800+2AA-"})
            kind = f"multipart/form-data; boundary=b; charset={charset}"
            _check(await client.post(route.at(**ids), content=body, headers={**HTML, "Content-Type": kind}))
        _check(await client.post(route.at(**ids), files={name: ("a", b"\xff")}, data=filled, headers=HTML))


def _multipart(fields: dict[str, str]) -> bytes:
    parts = [f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{fields[name]}\r\n' for name in fields]
    return "".join((*parts, "--b--\r\n")).encode()


async def test_where_a_form_says_to_go_is_never_the_end_of_a_header(client: httpx.AsyncClient, ids: Ids) -> None:
    fields = {"execution_id": ids["execution_id"], "metric": "total_rows", "back": "/ui/x\r\nX-Injected: yes ☃"}
    answer = await client.post(f"/ui/pipelines/{ids['pipeline_id']}/unflag", data=fields, headers=PART)
    assert answer.status_code == 204
    assert answer.headers["hx-redirect"] == "/ui/x%0D%0AX-Injected:%20yes%20%E2%98%83"


@pytest.mark.parametrize(
    "path",
    [
        "/ui",
        "/ui/pipelines",
        *(f"/ui/pipelines/1?{tab}" for tab in TABS),
        "/ui/executions/{execution_id}",
        "/ui/executions/{failed_id}",
        "/lineage-graph",
        "/lineage-graph?source_address_id=1",
        "/ui/anomalies?summary=true",
        "/ui/incidents",
        "/ui/incidents?state=all",
        "/ui/incidents/{incident_id}",
        "/ui/alerts",
        "/reporting?summary=true",
        "/ui/tasks",
        "/ui/tasks/{task_id}",
    ],
)
async def test_what_programs_write_is_shown_as_they_wrote_it(client: httpx.AsyncClient, ids: Ids, path: str) -> None:
    page = (await client.get(path.format(**ids), headers=HTML)).text
    assert [raw for raw in RAW if raw in page] == []
    # In the text of the page, or in a block of data.
    assert "&lt;img src=x onerror=alert(1)&gt;" in page or "\\u003cimg src=x onerror=alert(1)\\u003e" in page
    assert "{{7*7}}" in page
